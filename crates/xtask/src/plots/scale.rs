//! From values to places on a line: linear from zero, or by powers of ten where the values lie far apart.

/// From which ratio of the largest to the smallest value on a linear bar of the smallest could not be read.
const LOG_FROM: f64 = 20.0;

/// A scale; values are above zero, places from 0 to 1.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Scale {
    Linear {
        max: f64,
    },
    /// Powers of ten between which it lies.
    Log {
        from: i32,
        to: i32,
    },
}

impl Scale {
    /// For bars: linear unless the values span too much.
    pub(super) fn of_bars(values: impl Iterator<Item = f64> + Clone) -> Scale {
        let (min, max) = bounds(values);
        if max / min <= LOG_FROM {
            return Scale::Linear { max };
        }
        // The smallest keeps a bar that can be seen.
        Scale::Log { from: decade_below(min / 2.0), to: decade_above(max) }
    }

    /// For dots: always by powers of ten.
    pub(super) fn of_dots(values: impl Iterator<Item = f64> + Clone) -> Scale {
        let (min, max) = bounds(values);
        let from = decade_below(min);
        Scale::Log { from, to: decade_above(max).max(from + 1) }
    }

    pub(super) fn place(self, value: f64) -> f64 {
        let place = match self {
            Scale::Linear { max } => value / max,
            Scale::Log { from, to } => (value.log10() - f64::from(from)) / f64::from(to - from),
        };
        place.clamp(0.0, 1.0)
    }

    /// The powers of ten on it, as exponents.
    pub(super) fn decades(self) -> impl Iterator<Item = i32> {
        let powers = match self {
            Scale::Linear { .. } => None,
            Scale::Log { from, to } => Some(from..=to),
        };
        powers.into_iter().flatten()
    }

    pub(super) fn is_log(self) -> bool {
        matches!(self, Scale::Log { .. })
    }
}

/// Smallest and largest value; 1 where there is none.
fn bounds(values: impl Iterator<Item = f64> + Clone) -> (f64, f64) {
    let min = values.clone().min_by(f64::total_cmp).unwrap_or(1.0);
    (min, values.max_by(f64::total_cmp).unwrap_or(1.0))
}

fn decade_below(value: f64) -> i32 {
    whole(value.log10().floor())
}

fn decade_above(value: f64) -> i32 {
    whole(value.log10().ceil())
}

#[expect(clippy::cast_possible_truncation, reason = "exponents of ten of a float, some hundreds at most")]
fn whole(exponent: f64) -> i32 {
    exponent as i32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bars_begin_at_zero_until_they_lie_too_far_apart() {
        let near = Scale::of_bars([10.0, 200.0].into_iter());
        assert_eq!(near, Scale::Linear { max: 200.0 });
        assert_eq!(near.place(50.0), 0.25);
        let far = Scale::of_bars([10.0, 201.0].into_iter());
        assert_eq!(far, Scale::Log { from: 0, to: 3 });
        assert!((far.place(10.0) - 1.0 / 3.0).abs() < 1e-9);
    }

    #[test]
    fn dots_lie_between_powers_of_ten() {
        let scale = Scale::of_dots([0.4, 30.0].into_iter());
        assert_eq!(scale.decades().collect::<Vec<_>>(), [-1, 0, 1, 2]);
        assert_eq!((scale.place(0.1), scale.place(100.0)), (0.0, 1.0));
        assert_eq!(Scale::of_dots([1.0].into_iter()), Scale::Log { from: 0, to: 1 });
    }
}
