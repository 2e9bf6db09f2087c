//! The log as a strip of live and dead blocks, for a terminal.
//!
//! Promises that no line is wider than asked for, whatever the numbers are. Colours are left to who prints it.

use std::fmt;

/// How many lines a strip has about.
const LINES: usize = 4;
/// The narrowest strip.
const WIDTH_MIN: usize = 16;

/// A segment of the strip.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct StripSegment {
    /// Bytes of its file.
    pub file_bytes: u64,
    /// Bytes of them that rewriting would keep.
    pub kept_bytes: u64,
    /// Whether it is marked, because it will be compacted next.
    pub is_chosen: bool,
}

/// The characters of a strip.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum StripStyle {
    /// Block elements.
    #[default]
    Unicode,
    /// Characters that every terminal has.
    Ascii,
}

impl StripStyle {
    /// From dead to live: what a cell is by the share of it that is live.
    fn shades(self) -> [char; 5] {
        match self {
            StripStyle::Unicode => ['░', '▒', '▓', '▓', '█'],
            StripStyle::Ascii => ['.', '-', '+', '+', '#'],
        }
    }

    fn between(self) -> char {
        match self {
            StripStyle::Unicode => '│',
            StripStyle::Ascii => '|',
        }
    }
}

#[derive(Debug, Clone, Copy)]
struct Cell {
    sign: char,
    is_chosen: bool,
}

/// A drawing of the log.
///
/// ```
/// use nadb_compact::{Strip, StripSegment, StripStyle};
/// let segment = |kept_bytes, is_chosen| StripSegment { file_bytes: 8_000, kept_bytes, is_chosen };
/// let strip = Strip::draw(&[segment(2_000, true), segment(8_000, false)], 64, StripStyle::Ascii);
/// assert!(strip.lines()[0].starts_with("####") && strip.lines()[1].starts_with("^^^^"));
/// print!("{strip}");
/// ```
#[derive(Debug, Clone)]
pub struct Strip {
    lines: Vec<String>,
    bytes_per_cell: u64,
    style: StripStyle,
}

impl Strip {
    /// Draws `segments` in the order given, on a few lines of at most `width` characters (16 at least).
    #[must_use]
    pub fn draw(segments: &[StripSegment], width: usize, style: StripStyle) -> Strip {
        let width = width.max(WIDTH_MIN);
        let total: u128 = segments.iter().map(|segment| u128::from(segment.file_bytes)).sum();
        let cells_max = width * LINES;
        // A segment has a cell at least, and one between it and the next.
        let is_fine = segments.len().saturating_mul(4) <= cells_max;
        let cells = if is_fine { cells_max - segments.len().saturating_mul(2) } else { cells_max };
        let bytes_per_cell = total.div_ceil(u128::try_from(cells).unwrap_or(1).max(1)).max(1);
        let cells = match is_fine {
            true => each_segment(segments, bytes_per_cell, style),
            false => all_together(segments, bytes_per_cell, style),
        };
        let lines = cells.chunks(width).flat_map(lines_of).collect();
        Strip { lines, bytes_per_cell: u64::try_from(bytes_per_cell).unwrap_or(u64::MAX), style }
    }

    /// The lines, without line ends. Below a line with segments that are chosen stands one that marks them.
    #[must_use]
    pub fn lines(&self) -> &[String] {
        &self.lines
    }

    /// How many bytes a character stands for.
    #[must_use]
    pub fn bytes_per_cell(&self) -> u64 {
        self.bytes_per_cell
    }

    /// What the characters mean.
    #[must_use]
    pub fn legend(&self) -> String {
        let [dead, .., live] = self.style.shades();
        format!("{live} live   {dead} dead   ^ next to be compacted")
    }
}

impl fmt::Display for Strip {
    /// All lines.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.lines.iter().try_for_each(|line| writeln!(f, "{line}"))
    }
}

/// Each segment for itself: its live cells, then its dead ones.
fn each_segment(segments: &[StripSegment], bytes_per_cell: u128, style: StripStyle) -> Vec<Cell> {
    let mut cells = vec![];
    for (at, segment) in segments.iter().enumerate() {
        if at > 0 {
            cells.push(Cell { sign: style.between(), is_chosen: false });
        }
        let count = (u128::from(segment.file_bytes) / bytes_per_cell).max(1);
        let kept = u128::from(segment.kept_bytes.min(segment.file_bytes));
        // Quarters of cells that are live, of this segment's scale.
        let quarters = (kept * count * 4).div_ceil(u128::from(segment.file_bytes.max(1)));
        cells.extend((0..count).map(|cell| Cell {
            sign: shade(quarters.saturating_sub(cell * 4).min(4), style),
            is_chosen: segment.is_chosen,
        }));
    }
    cells
}

/// More segments than there is room for: each cell shows how much is live of the bytes that it stands for.
fn all_together(segments: &[StripSegment], bytes_per_cell: u128, style: StripStyle) -> Vec<Cell> {
    let mut cells = vec![];
    let (mut file, mut kept, mut is_chosen) = (0, 0, false);
    for segment in segments {
        let mut left = u128::from(segment.file_bytes);
        let of_segment = u128::from(segment.kept_bytes.min(segment.file_bytes));
        is_chosen |= segment.is_chosen;
        while left > 0 {
            let bytes = left.min(bytes_per_cell - file);
            file += bytes;
            kept += of_segment * bytes / u128::from(segment.file_bytes);
            left -= bytes;
            if file == bytes_per_cell {
                cells.push(Cell { sign: shade((kept * 4).div_ceil(file), style), is_chosen });
                (file, kept, is_chosen) = (0, 0, segment.is_chosen && left > 0);
            }
        }
    }
    if file > 0 {
        cells.push(Cell { sign: shade((kept * 4).div_ceil(file), style), is_chosen });
    }
    cells
}

/// The sign of a cell of which so many quarters are live.
fn shade(quarters: u128, style: StripStyle) -> char {
    let [dead, little, half, most, live] = style.shades();
    match quarters {
        0 => dead,
        1 => little,
        2 => half,
        3 => most,
        _ => live,
    }
}

/// A line, and the one that marks what is chosen, if anything is.
fn lines_of(cells: &[Cell]) -> Vec<String> {
    let mut lines = vec![cells.iter().map(|cell| cell.sign).collect()];
    if cells.iter().any(|cell| cell.is_chosen) {
        let marks: String = cells.iter().map(|cell| if cell.is_chosen { '^' } else { ' ' }).collect();
        lines.push(marks.trim_end().to_owned());
    }
    lines
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn segment(file_bytes: u64, percent: u64) -> StripSegment {
        StripSegment { file_bytes, kept_bytes: file_bytes * percent / 100, is_chosen: percent < 30 }
    }

    fn check(segments: &[StripSegment], width: usize, style: StripStyle, expected: &[&str]) {
        let drawn = Strip::draw(segments, width, style);
        assert_eq!(drawn.lines(), expected, "\n{drawn}");
    }

    #[test]
    fn a_few_segments_stand_side_by_side() {
        let segments = [segment(1_000, 100), segment(2_000, 25), segment(500, 0), segment(1_000, 62)];
        let ascii = [
            "###################|####",
            "                    ^^^^",
            "#####+..................",
            "^^^^^^^^^^^^^^^^^^^^^^^^",
            "..........|.........|###",
            "^^^^^^^^^^ ^^^^^^^^^",
            "#########.......",
        ];
        check(&segments, 24, StripStyle::Ascii, &ascii);
        let unicode = [
            "███████████████████│████",
            "                    ^^^^",
            "█████▓░░░░░░░░░░░░░░░░░░",
            "^^^^^^^^^^^^^^^^^^^^^^^^",
            "░░░░░░░░░░│░░░░░░░░░│███",
            "^^^^^^^^^^ ^^^^^^^^^",
            "█████████░░░░░░░",
        ];
        check(&segments, 24, StripStyle::Unicode, &unicode);
    }

    #[test]
    fn many_segments_are_drawn_together() {
        let segments: Vec<StripSegment> = (0..100).map(|at| segment(1_000, at)).collect();
        let drawn = [
            "----------------",
            "^^^^^^^^^^^^^^^^",
            "++++++++++++++++",
            "^^^^",
            "++++++++++++++++",
            "################",
        ];
        check(&segments, 16, StripStyle::Ascii, &drawn);
    }

    #[test]
    fn nothing_is_no_line_and_an_empty_file_is_a_cell() {
        check(&[], 80, StripStyle::Unicode, &[]);
        check(&[segment(0, 0)], 80, StripStyle::Ascii, &[".", "^"]);
    }

    #[test]
    fn the_legend_has_the_signs_of_the_style() {
        let legend = |style| Strip::draw(&[], 80, style).legend();
        assert_eq!(legend(StripStyle::Ascii), "# live   . dead   ^ next to be compacted");
        assert_eq!(legend(StripStyle::Unicode), "█ live   ░ dead   ^ next to be compacted");
    }

    proptest! {
        #[test]
        fn no_line_is_too_wide_and_there_are_not_too_many(
            sizes in prop::collection::vec((any::<u64>(), any::<u64>(), any::<bool>()), 0..300),
            width in 0_usize..200,
        ) {
            let segments: Vec<StripSegment> = sizes
                .iter()
                .map(|(file_bytes, kept_bytes, is_chosen)| StripSegment {
                    file_bytes: *file_bytes,
                    kept_bytes: *kept_bytes,
                    is_chosen: *is_chosen,
                })
                .collect();
            let strip = Strip::draw(&segments, width, StripStyle::Unicode);
            prop_assert!(strip.lines().iter().all(|line| line.chars().count() <= width.max(WIDTH_MIN)));
            prop_assert!(strip.lines().len() <= LINES * 2);
        }
    }
}
