//! The notify payload (RFC 7296 section 3.10).

use super::{Error, Field, u16_at};

mod field {
    use super::Field;
    pub const SPI_SIZE: usize = 1;
    pub const TYPE: Field = 2..4;
}

/// Bytes from the start of the body to the SPI or the data.
pub const FIXED_LEN: usize = field::TYPE.end;

/// Notify message types.
pub mod kind {
    /// COOKIE (RFC 7296 section 2.6).
    pub const COOKIE: u16 = 16390;
    /// REDIRECT_SUPPORTED (RFC 5685 section 7.1).
    pub const REDIRECT_SUPPORTED: u16 = 16406;
    /// REDIRECT (RFC 5685 section 7.2).
    pub const REDIRECT: u16 = 16407;
    /// REDIRECTED_FROM (RFC 5685 section 7.3).
    pub const REDIRECTED_FROM: u16 = 16408;
}

/// A view over the body of a notify payload. Protocol id and SPI size are accepted whatever they are, as long as the
/// SPI fits: real gateways send protocol id 1 where RFC 5685 wants 0.
#[derive(Debug, Clone, Copy)]
pub struct Notify<'a>(&'a [u8]);

impl<'a> Notify<'a> {
    /// Checks the fixed part and that the SPI fits.
    ///
    /// # Errors
    /// [`Error::Truncated`] when the body ends before the type or inside the SPI.
    #[inline]
    pub fn new_checked(body: &'a [u8]) -> Result<Self, Error> {
        if body.len() < FIXED_LEN || body.len() - FIXED_LEN < usize::from(body[field::SPI_SIZE]) {
            return Err(Error::Truncated);
        }
        Ok(Notify(body))
    }

    /// The message type, see [`kind`].
    #[inline]
    pub fn kind(&self) -> u16 {
        u16_at(self.0, field::TYPE)
    }

    /// The data behind the SPI.
    #[inline]
    pub fn data(&self) -> &'a [u8] {
        self.0.get(FIXED_LEN + usize::from(self.0[field::SPI_SIZE])..).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn type_and_data_are_read_behind_an_spi() {
        let notify = Notify::new_checked(&[1, 4, 0x40, 0x17, 9, 9, 9, 9, 1, 4]).unwrap();
        assert_eq!(notify.kind(), kind::REDIRECT);
        assert_eq!(notify.data(), [1, 4]);
    }

    #[test]
    fn short_bodies_are_refused() {
        for body in [&[][..], &[0, 0, 0x40], &[0, 1, 0x40, 0x17]] {
            assert_eq!(Notify::new_checked(body).err(), Some(Error::Truncated));
        }
    }
}
