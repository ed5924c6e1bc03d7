//! What somebody may have meant.

/// More names than this are not listed.
const MOST_LISTED: usize = 12;

/// That there is no such field, what may have been meant, and what there is: the rest of a sentence.
pub fn no_such_field<'n>(name: &str, known: impl Iterator<Item = &'n str>) -> String {
    let known: Vec<&str> = known.collect();
    let mut text = "is not a field here".to_owned();
    if let Some(near) = nearest(name, known.iter().copied()) {
        text += &format!("; did you mean `{near}`?");
    }
    if (1..=MOST_LISTED).contains(&known.len()) {
        let end = if text.ends_with('?') { "" } else { "." };
        text += &format!("{end} Known here: `{}`", known.join("`, `"));
    }
    text
}

/// The known name nearest to `name`, if it is near enough to be a slip.
pub fn nearest<'n>(name: &str, known: impl Iterator<Item = &'n str>) -> Option<&'n str> {
    if name.len() > 64 {
        return None;
    }
    let name = plain(name);
    let limit = name.len().max(3) / 3;
    let distances = known.map(|candidate| (distance(&name, &plain(candidate)), candidate));
    distances.filter(|(distance, _)| *distance <= limit).min().map(|(_, candidate)| candidate)
}

/// Without case and underscores, which are the usual slips.
fn plain(name: &str) -> Vec<char> {
    name.chars().filter(|c| *c != '_').map(|c| c.to_ascii_lowercase()).collect()
}

/// Levenshtein's.
fn distance(a: &[char], b: &[char]) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, left) in a.iter().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], i + 1);
        for (j, right) in b.iter().enumerate() {
            let changed = diagonal + usize::from(left != right);
            let best = changed.min(row[j] + 1).min(row[j + 1] + 1);
            diagonal = std::mem::replace(&mut row[j + 1], best);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::nearest;

    #[test]
    fn a_slip_finds_the_name_that_was_meant() {
        let known = ["pageSize", "pageToken", "filter", "id"];
        for (name, expected) in [
            ("page_size", Some("pageSize")),
            ("pagesize", Some("pageSize")),
            ("pageSiez", Some("pageSize")),
            ("fliter", Some("filter")),
            ("ids", Some("id")),
            ("quantity", None),
            ("", None),
        ] {
            assert_eq!(nearest(name, known.into_iter()), expected, "{name}");
        }
    }
}
