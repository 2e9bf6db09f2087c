//! Matches in another order than that of their keys: all are looked at, and of those only the ones that are wanted are kept.

use nadb_core::{NamespaceId, Position, QueryRequest, Result, SortField};
use nadb_log::RowMeta;

use super::selected::Selected;
use crate::scan::KeyRange;
use crate::scan::ahead::{Found, Rowed};
use crate::view::View;

/// Matches that are kept beyond those that are wanted before the rest is dropped.
const SPARE_MAX: usize = 1024;

/// What a row is sorted by.
fn value_of(by: SortField, meta: &RowMeta) -> u64 {
    match by {
        SortField::Created => meta.created_ms,
        SortField::Updated => meta.updated_ms,
        SortField::Size => meta.size,
        _ => 0,
    }
}

/// The first matches behind the place to go on from, as many as are wanted, in the order of `request`.
///
/// # Errors
/// `Corruption` where a footer is damaged.
pub(super) fn sorted(
    view: &View,
    mut rowed: Rowed<Selected>,
    namespace: NamespaceId,
    range: &KeyRange,
    request: &QueryRequest,
) -> Result<Vec<(Position, Found)>> {
    let order = request.order;
    let wanted = request.wanted().and_then(|wanted| usize::try_from(wanted).ok());
    let mut found: Vec<(Position, Found)> = Vec::new();
    let sort = |found: &mut Vec<(Position, Found)>| {
        found.sort_unstable_by(|(a, _), (b, _)| if order.descending { b.cmp(a) } else { a.cmp(b) });
        found.truncate(wanted.unwrap_or(usize::MAX));
    };
    while let Some((key, next)) = rowed.next(view, namespace, range, false)? {
        let key = key.to_vec();
        let position = Position { value: value_of(order.by, &rowed.meta(next)?), key };
        if request.after.as_ref().is_none_or(|after| order.is_behind(&position, after)) {
            found.push((position, next));
        }
        if wanted.is_some_and(|wanted| found.len() / 2 >= wanted.max(SPARE_MAX)) {
            sort(&mut found);
        }
    }
    sort(&mut found);
    Ok(found)
}
