//! What came of all runs, as pictures.

use std::path::Path;

use plotters::prelude::*;

use crate::{
    report::{Comparison, Summary},
    scenario::BoxError,
};

const COLOURS: [RGBColor; 6] = [
    RGBColor(0x1f, 0x77, 0xb4),
    RGBColor(0xbb, 0xbb, 0xbb),
    RGBColor(0xdd, 0x99, 0x44),
    RGBColor(0x44, 0x99, 0x55),
    RGBColor(0x99, 0x55, 0xaa),
    RGBColor(0xbb, 0x44, 0x44),
];

/// Writes all plots into a folder.
pub(crate) fn all(comparisons: &[Comparison], folder: &Path) -> Result<(), BoxError> {
    let served = |comparison: &Comparison, summary: &Summary| {
        let share = summary.served as f64 * 100.0 / summary.asked.max(1) as f64;
        comparison.of_oracle(summary).unwrap_or(share)
    };
    let wasted = |_: &Comparison, summary: &Summary| summary.wasted();
    bars(
        comparisons,
        &folder.join("served.svg"),
        "served, % of the oracle",
        served,
    )?;
    bars(
        comparisons,
        &folder.join("wasted.svg"),
        "upstream calls in vain, % of served",
        wasted,
    )?;
    for comparison in comparisons {
        first_token(
            comparison,
            &folder.join(format!("first-token-{}.svg", comparison.name)),
        )?;
    }
    Ok(())
}

/// For each scenario one bar per policy.
fn bars(
    comparisons: &[Comparison],
    path: &Path,
    title: &str,
    value: impl Fn(&Comparison, &Summary) -> f64,
) -> Result<(), BoxError> {
    let values = comparisons.iter().map(|comparison| {
        let values = comparison
            .policies
            .iter()
            .map(|(_, summary)| value(comparison, summary));
        values.collect::<Vec<_>>()
    });
    let values: Vec<_> = values.collect();
    let highest = values.iter().flatten().copied().fold(1.0, f64::max) * 1.05;
    let width = 160 + 110 * comparisons.len().max(4) as u32;
    let area = SVGBackend::new(path, (width, 360)).into_drawing_area();
    area.fill(&WHITE)?;
    let count = comparisons.len();
    let mut chart = ChartBuilder::on(&area)
        .caption(title, ("sans-serif", 18))
        .margin(10)
        .x_label_area_size(30)
        .y_label_area_size(45)
        .build_cartesian_2d(0.0..count as f64, 0.0..highest)?;
    let name = |x: &f64| {
        let at = *x as usize;
        let is_middle = (x.fract() - 0.5).abs() < 0.01;
        comparisons
            .get(at)
            .filter(|_| is_middle)
            .map_or(String::new(), |comparison| comparison.name.clone())
    };
    chart
        .configure_mesh()
        .disable_x_mesh()
        .x_labels(count * 2 + 1)
        .x_label_formatter(&name)
        .draw()?;
    let policies = comparisons.first().map_or(&[][..], |first| &first.policies);
    let bar = 0.8 / policies.len().max(1) as f64;
    for (policy, (name, _)) in policies.iter().enumerate() {
        let colour = COLOURS[policy % COLOURS.len()];
        let bars = values.iter().enumerate().map(|(at, values)| {
            let left = at as f64 + 0.1 + bar * policy as f64;
            Rectangle::new(
                [(left, 0.0), (left + bar * 0.9, values[policy])],
                colour.filled(),
            )
        });
        chart
            .draw_series(bars)?
            .label(name)
            .legend(move |(x, y)| Rectangle::new([(x, y - 4), (x + 10, y + 4)], colour.filled()));
    }
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::LowerRight)
        .background_style(WHITE.mix(0.8))
        .draw()?;
    area.present()?;
    Ok(())
}

/// Which share of all streamed answers had begun after which time.
fn first_token(comparison: &Comparison, path: &Path) -> Result<(), BoxError> {
    let area = SVGBackend::new(path, (640, 360)).into_drawing_area();
    area.fill(&WHITE)?;
    let mut chart = ChartBuilder::on(&area)
        .caption(
            format!("{}: answers begun, %", comparison.name),
            ("sans-serif", 18),
        )
        .margin(10)
        .x_label_area_size(35)
        .y_label_area_size(45)
        .build_cartesian_2d(0.0..30.0, 0.0..100.0)?;
    chart.configure_mesh().x_desc("seconds").draw()?;
    for (policy, (name, summary)) in comparison.policies.iter().enumerate() {
        let colour = COLOURS[policy % COLOURS.len()];
        // Requests without an answer are part of the whole.
        let streamed =
            summary.first.len() as f64 * summary.asked as f64 / summary.served.max(1) as f64;
        let points = (0..=300).map(|tenth| {
            let begun = summary.first.partition_point(|first| *first <= tenth * 100);
            (
                tenth as f64 / 10.0,
                begun as f64 * 100.0 / streamed.max(1.0),
            )
        });
        chart
            .draw_series(LineSeries::new(points, colour.stroke_width(2)))?
            .label(name)
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 12, y)], colour.stroke_width(2)));
    }
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::LowerRight)
        .background_style(WHITE.mix(0.8))
        .draw()?;
    area.present()?;
    Ok(())
}
