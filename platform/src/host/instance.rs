//! One instance of a program in a network namespace.

use std::io::ErrorKind;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};

use super::HostError;

/// Held while the program runs. It is a name in the kernel, no file: it ends with the process, however that ends.
#[derive(Debug)]
pub struct Instance {
    _socket: UnixDatagram,
}

/// Takes the place of `name` in this network namespace.
///
/// # Errors
/// Another process has it.
pub fn take(name: &str) -> Result<Instance, HostError> {
    let bind = || UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(name.as_bytes())?);
    match bind() {
        Ok(socket) => Ok(Instance { _socket: socket }),
        Err(err) if err.kind() == ErrorKind::AddrInUse => Err(HostError::Running { name: name.to_owned() }),
        Err(err) => Err(HostError::System { path: format!("@{name}").into(), reason: err.to_string() }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_instance_is_told_and_the_place_is_free_after_the_first() {
        let name = format!("usher-test-instance-{}", std::process::id());
        let first = take(&name).unwrap();
        let err = take(&name).unwrap_err().to_string();
        assert!(err.contains("another usher-test-instance") && err.contains("pgrep"), "{err}");
        drop(first);
        take(&name).unwrap();
    }
}
