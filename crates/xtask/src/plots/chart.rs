//! One chart: below each other a panel for each row and number of threads, in it a bar for each engine, best first. Where single calls
//! were timed, the bar is followed by dots at 50, 99 and 99.9 % of them.

use super::figures::Figure;
use super::scale::Scale;
use super::svg::Svg;

const WIDTH: f64 = 760.0;
const MARGIN: f64 = 16.0;
/// Where the chart's title and what its colours mean stand, and how high they are together.
const TITLE_Y: f64 = 30.0;
const LEGEND_Y: f64 = 54.0;
const HEAD: f64 = 70.0;
/// Height of a panel's head, of a bar with its space, of a bar, and of the space below a panel.
const PANEL_HEAD: f64 = 28.0;
const ROW: f64 = 20.0;
const BAR: f64 = 14.0;
const PANEL_GAP: f64 = 16.0;
/// Height of a line of remarks.
const REMARK: f64 = 16.0;
/// Where bars begin, and room for the number behind one.
const BARS_X: f64 = 112.0;
const NUMBER: f64 = 76.0;
/// Where dots begin and end.
const DOTS_X: f64 = 470.0;
const DOTS_END: f64 = WIDTH - MARGIN - 14.0;

/// The figures of one row at one number of threads, best first.
struct Panel<'a> {
    figures: Vec<&'a Figure>,
    bars: Scale,
}

/// Draws the figures of a group.
pub(super) fn draw(title: &str, figures: &[&Figure]) -> String {
    let dots = dots(figures);
    let panels = panels(figures);
    let remarks = remarks(figures);
    let mut svg = Svg::default();
    svg.text("title", MARGIN, TITLE_Y, title);
    legend(&mut svg, dots.is_some());
    let mut y = HEAD;
    for panel in &panels {
        panel.draw(&mut svg, y, dots);
        y += panel.height() + PANEL_GAP;
    }
    for remark in &remarks {
        svg.text("dim", MARGIN, y, remark);
        y += REMARK;
    }
    svg.finish(WIDTH, y + MARGIN - REMARK / 2.0, title, &description(&panels))
}

/// The scale of all dots of a chart, if it has any.
fn dots(figures: &[&Figure]) -> Option<Scale> {
    let times = figures.iter().filter_map(|figure| figure.latency_us).flatten().filter(|us| *us > 0.0);
    times.clone().next().is_some().then(|| Scale::of_dots(times))
}

fn panels<'a>(figures: &[&'a Figure]) -> Vec<Panel<'a>> {
    let mut keys: Vec<(&str, u64)> = Vec::new();
    for figure in figures {
        let key = (figure.row.as_str(), figure.threads);
        if !keys.contains(&key) {
            keys.push(key);
        }
    }
    let panel = |(row, threads): &(&str, u64)| {
        let of_row = figures.iter().filter(|figure| figure.row == *row);
        // All numbers of threads on one scale, so that they can be compared.
        let bars = Scale::of_bars(of_row.clone().map(|figure| figure.value()));
        let mut figures: Vec<&Figure> = of_row.copied().filter(|figure| figure.threads == *threads).collect();
        figures.sort_by(|a, b| b.value().total_cmp(&a.value()));
        if figures.first().is_some_and(|figure| figure.is_time()) {
            figures.reverse();
        }
        Panel { figures, bars }
    };
    keys.iter().map(panel).collect()
}

/// What has to be known beside the figures, each once.
fn remarks(figures: &[&Figure]) -> Vec<String> {
    let mut remarks: Vec<String> = Vec::new();
    for figure in figures {
        for part in figure.remark.iter().flat_map(|remark| remark.split("; ")) {
            let remark = format!("{}: {part}", figure.engine);
            if !remarks.contains(&remark) {
                remarks.push(remark);
            }
        }
    }
    remarks
}

/// What the picture says, for those who do not see it.
fn description(panels: &[Panel<'_>]) -> String {
    let panel = |panel: &Panel<'_>| {
        let figures: Vec<String> =
            panel.figures.iter().map(|figure| format!("{} {}", figure.engine, figure.shown())).collect();
        format!("{}: {}", panel.name(), figures.join(", "))
    };
    panels.iter().map(panel).collect::<Vec<_>>().join(". ")
}

fn legend(svg: &mut Svg, has_dots: bool) {
    let y = LEGEND_Y - 4.0;
    for (class, x, text) in
        [("own", 16.0, "nadb"), ("peer", 74.0, "peers"), ("ref", 136.0, "references, no stores")]
    {
        svg.bar(class, [x, y - 5.0, 12.0, 10.0]);
        svg.text("dim", x + 17.0, LEGEND_Y, text);
    }
    if has_dots {
        svg.circle("ring", DOTS_X, y, 3.5);
        svg.text("dim", DOTS_X + 8.0, LEGEND_Y, "p50");
        svg.circle("dot", DOTS_X + 50.0, y, 3.5);
        svg.text("dim", DOTS_X + 58.0, LEGEND_Y, "p99");
        svg.diamond("dot", DOTS_X + 100.0, y, 4.5);
        svg.text("dim", DOTS_X + 109.0, LEGEND_Y, "p99.9 of single calls");
    }
}

impl Panel<'_> {
    fn height(&self) -> f64 {
        let rows = u32::try_from(self.figures.len()).unwrap_or(u32::MAX);
        PANEL_HEAD + ROW * f64::from(rows)
    }

    fn name(&self) -> String {
        self.figures.first().map_or_else(String::new, |figure| {
            let s = if figure.threads == 1 { "" } else { "s" };
            // The chart's title says it.
            let row = figure.row.strip_prefix("threads: ").unwrap_or(&figure.row);
            format!("{row}, {} thread{s}", figure.threads)
        })
    }

    fn unit(&self) -> String {
        let is_time = self.figures.first().is_some_and(|figure| figure.is_time());
        let unit = if is_time { "time, shorter is better" } else { "per second" };
        if self.bars.is_log() { format!("{unit}; logarithmic") } else { unit.into() }
    }

    fn draw(&self, svg: &mut Svg, y: f64, dots: Option<Scale>) {
        svg.text("head", MARGIN, y + 14.0, &self.name());
        let dots = dots.filter(|_| self.figures.iter().any(|figure| figure.latency_us.is_some()));
        let right = if dots.is_some() { DOTS_X - 40.0 } else { WIDTH - MARGIN };
        svg.text("dim end", right, y + 14.0, &self.unit());
        if let Some(scale) = dots {
            self.grid(svg, y, scale);
        }
        let mut row_y = y + PANEL_HEAD;
        for figure in &self.figures {
            let base = row_y + BAR - 3.0;
            svg.text(if figure.is_own() { "head end" } else { "end" }, BARS_X - 8.0, base, &figure.engine);
            let width = (right - NUMBER - BARS_X) * self.bars.place(figure.value());
            svg.bar(class(figure), [BARS_X, row_y, width.max(1.0), BAR]);
            let number = if figure.is_own() { "head" } else { "" };
            svg.text(number, BARS_X + width.max(1.0) + 6.0, base, &figure.shown());
            if let (Some(scale), Some(latency)) = (dots, figure.latency_us) {
                latencies(svg, row_y + BAR / 2.0, scale, latency);
            }
            row_y += ROW;
        }
    }

    /// A line for each power of ten, with a word at each that has room.
    fn grid(&self, svg: &mut Svg, y: f64, scale: Scale) {
        let bottom = y + self.height();
        for exponent in scale.decades() {
            let x = dots_x(scale, 10f64.powi(exponent));
            svg.stroke("grid", [x, y + 20.0, x, bottom]);
            svg.text("dim mid", x, y + 14.0, &microseconds(exponent));
        }
    }
}

fn class(figure: &Figure) -> &'static str {
    match figure {
        figure if figure.is_own() => "own",
        figure if figure.is_reference() => "ref",
        _ => "peer",
    }
}

fn latencies(svg: &mut Svg, y: f64, scale: Scale, latency: [f64; 3]) {
    // What took less than the clock can tell stands at the left end.
    let [p50, p99, p999] = latency.map(|us| dots_x(scale, us.max(1e-6)));
    svg.stroke("span", [p50, y, p999, y]);
    svg.circle("ring", p50, y, 3.5);
    svg.circle("dot", p99, y, 3.5);
    svg.diamond("dot", p999, y, 4.5);
}

fn dots_x(scale: Scale, us: f64) -> f64 {
    DOTS_X + (DOTS_END - DOTS_X) * scale.place(us)
}

/// Ten to that power of microseconds.
fn microseconds(exponent: i32) -> String {
    let (unit, power) = match exponent {
        ..0 => ("ns", exponent + 3),
        0..3 => ("µs", exponent),
        3..6 => ("ms", exponent - 3),
        6.. => ("s", exponent - 6),
    };
    format!("{} {unit}", 10f64.powi(power))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plots::figures::parsed;
    use crate::plots::svg::fault;

    fn drawn(lines: &[(&str, &str, u64, &str)]) -> String {
        let line = |(engine, row, count, latency): &(&str, &str, u64, &str)| {
            format!(
                r#"{{"engine": "{engine}", "row": "{row}", "threads": 1, "count": {count}, "seconds": 1,
                "latency_us": {latency}, "remark": "odd & <new>"}}"#
            )
        };
        let text = format!("[{}]", lines.iter().map(line).collect::<Vec<_>>().join(","));
        let figures = parsed(&text).unwrap();
        draw("A & B", &figures.iter().collect::<Vec<_>>())
    }

    fn at(text: &str, what: &str) -> usize {
        text.find(what).unwrap_or_else(|| panic!("{what} in {text}"))
    }

    #[test]
    fn the_best_comes_first_and_nadb_is_marked() {
        let text = drawn(&[("lmdb", "2 get", 1000, "null"), ("nadb", "2 get", 3000, "null")]);
        assert_eq!(fault(&text), None);
        assert!(at(&text, "class=\"own\" x=\"112\"") < at(&text, "class=\"peer\" x=\"112\""));
        assert!(text.contains(">3.0 k/s<") && !text.contains("logarithmic") && !text.contains("p99"));
    }

    #[test]
    fn of_times_the_shortest_is_best() {
        let text = drawn(&[("lmdb", "10 open", 1, "null"), ("nadb", "10 open", 1, "null")]);
        assert!(text.contains("shorter is better") && text.contains(">1000 ms<"));
    }

    #[test]
    fn what_lies_far_apart_is_drawn_by_powers_of_ten() {
        let text = drawn(&[("raw_append", "1 load", 1000, "null"), ("nadb", "1 load", 30_000, "null")]);
        assert!(text.contains("per second; logarithmic") && text.contains("class=\"ref\" x=\"112\""));
    }

    #[test]
    fn latencies_are_dots_on_a_common_scale() {
        let text = drawn(&[
            ("lmdb", "2 get", 1000, "[0.0, 0.9, 31.5, 99.0]"),
            ("nadb", "2 get", 1000, "[0.4, 0.8, 2000, 9999.0]"),
        ]);
        assert_eq!(fault(&text), None);
        for word in ["100 ns", "1 µs", "10 µs", "100 µs", "1 ms", "10 ms"] {
            assert!(text.contains(&format!(">{word}<")), "{word}");
        }
        // One in the legend, one for each engine.
        assert_eq!(text.matches("<polygon").count(), 3);
    }

    #[test]
    fn the_largest_group_that_there_is_stays_small() {
        let line = |engine: u32, threads: u32| {
            format!(
                r#"{{"engine": "an_engine{engine}", "row": "threads: load", "threads": {threads}, "count": {}, "seconds": 0.777,
                "latency_us": [1.234, 23.456, 345.678, 99.0], "remark": "remark {threads} of {engine}"}}"#,
                12_345 * engine + threads
            )
        };
        let lines = (1..=9).flat_map(|engine| [1, 2, 4, 8].map(|threads| line(engine, threads)));
        let figures = parsed(&format!("[{}]", lines.collect::<Vec<_>>().join(","))).unwrap();
        let text = draw("Threads", &figures.iter().collect::<Vec<_>>());
        assert!(text.len() < 30 << 10, "{}", text.len());
    }
}
