//! The plot of `make bench`: rates and cycles by size of the request, as SVG.

use std::path::Path;

use plotters::prelude::*;

/// Bars of one group: a label, and a value for each program (NaN: not measured).
pub type Group = (String, Vec<f64>);

/// One chart of bars.
pub struct Chart<'a> {
    /// What it shows.
    pub title: &'a str,
    /// The programs, in the order of the bars.
    pub programs: &'a [&'a str],
    /// The groups.
    pub groups: &'a [Group],
    /// A line across, such as a budget.
    pub line: Option<(f64, &'a str)>,
}

const COLOURS: [RGBColor; 4] = [
    RGBColor(0x1f, 0x6f, 0xb4),
    RGBColor(0xe0, 0x7b, 0x1a),
    RGBColor(0x7a, 0x7a, 0x7a),
    RGBColor(0x3a, 0x9a, 0x4a),
];

/// Draws charts below each other.
///
/// # Errors
/// The file cannot be written.
pub fn draw(path: &Path, charts: &[Chart<'_>]) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let root = SVGBackend::new(path, (900, 340 * charts.len() as u32)).into_drawing_area();
    root.fill(&WHITE).map_err(|error| error.to_string())?;
    for (area, chart) in root.split_evenly((charts.len(), 1)).iter().zip(charts) {
        one(area, chart).map_err(|error| error.to_string())?;
    }
    root.present().map_err(|error| error.to_string())?;
    Ok(())
}

fn one(
    area: &DrawingArea<SVGBackend<'_>, plotters::coord::Shift>,
    chart: &Chart<'_>,
) -> Result<(), DrawingAreaErrorKind<std::io::Error>> {
    let values = chart.groups.iter().flat_map(|(_, values)| values).copied();
    let most =
        values.chain(chart.line.map(|(at, _)| at)).filter(|value| value.is_finite()).fold(1e-9, f64::max);
    let mut context = ChartBuilder::on(area)
        .caption(chart.title, ("sans-serif", 17))
        .margin(12)
        .x_label_area_size(28)
        .y_label_area_size(60)
        .build_cartesian_2d(0f64..chart.groups.len() as f64, 0f64..most * 1.25)?;
    let label = |x: &f64| {
        let (group, rest) = (x.floor(), x.fract());
        let near = (rest - 0.5).abs() < 0.01;
        chart.groups.get(group as usize).filter(|_| near).map_or(String::new(), |(name, _)| name.clone())
    };
    context
        .configure_mesh()
        .disable_x_mesh()
        .x_labels(chart.groups.len() * 2 + 1)
        .x_label_formatter(&label)
        .draw()?;
    let width = 0.8 / chart.programs.len() as f64;
    for (index, program) in chart.programs.iter().enumerate() {
        let colour = COLOURS[index % COLOURS.len()];
        let bars = chart.groups.iter().enumerate().filter_map(|(group, (_, values))| {
            let value = values.get(index).copied().filter(|value| value.is_finite())?;
            let left = group as f64 + 0.1 + width * index as f64;
            Some(Rectangle::new([(left, 0.0), (left + width * 0.92, value)], colour.filled()))
        });
        context
            .draw_series(bars)?
            .label(*program)
            .legend(move |(x, y)| Rectangle::new([(x, y - 5), (x + 10, y + 5)], colour.filled()));
    }
    if let Some((at, name)) = chart.line {
        let ends = [(0.0, at), (chart.groups.len() as f64, at)];
        context
            .draw_series(LineSeries::new(ends, RED))?
            .label(name)
            .legend(|(x, y)| PathElement::new([(x, y), (x + 10, y)], RED));
    }
    context.configure_series_labels().border_style(BLACK).background_style(WHITE).draw()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plot_has_its_titles_labels_and_bars() {
        let file = tempfile::Builder::new().suffix(".svg").tempfile().unwrap();
        let groups = [("186 IPv4".to_owned(), vec![5.0, 4.0]), ("922 IPv4".to_owned(), vec![f64::NAN, 3.0])];
        let chart = Chart {
            title: "M/s",
            programs: &["usher", "5tswap"],
            groups: &groups,
            line: Some((6.0, "budget")),
        };
        draw(file.path(), &[chart]).unwrap();
        let svg = std::fs::read_to_string(file.path()).unwrap();
        for text in ["M/s", "186 IPv4", "922 IPv4", "usher", "5tswap", "budget"] {
            assert!(svg.contains(text), "{text}: {svg}");
        }
        assert_eq!(svg.matches("#1F6FB4").count(), 2, "one bar and the legend: {svg}");
    }
}
