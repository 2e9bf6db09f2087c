//! The tags that an imported file gets from its name.

use std::path::Path;

use nadb::limits::check_tag;

/// The media type that the name suggests.
pub(crate) fn media_type(path: &Path) -> Option<String> {
    mime_guess::from_path(path).first_raw().map(str::to_owned)
}

/// `ext:` with the extension in lower case, `dir:` with the directory that holds the file, relative to the imported tree
/// (`.` for the tree itself), `mime:` with the media type. What is not UTF-8 or too long for a tag is left out.
pub(crate) fn tags(relative: &Path, media_type: Option<&str>) -> Vec<String> {
    let extension = relative.extension().and_then(|extension| extension.to_str()).map(str::to_lowercase);
    let directory = relative.parent().and_then(Path::to_str).map(|directory| match directory {
        "" => ".".to_owned(),
        _ if cfg!(windows) => directory.replace('\\', "/"),
        _ => directory.to_owned(),
    });
    [("ext", extension), ("dir", directory), ("mime", media_type.map(str::to_owned))]
        .into_iter()
        .filter_map(|(kind, value)| Some(format!("{kind}:{}", value?)))
        .filter(|tag| check_tag(tag).is_ok())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_become_tags() {
        let check = |path: &str, expected: &[&str]| {
            let path = Path::new(path);
            assert_eq!(tags(path, media_type(path).as_deref()), expected);
        };
        check("a/b/Page.HTML", &["ext:html", "dir:a/b", "mime:text/html"]);
        check("README", &["dir:."]);
        check(".hidden", &["dir:."]);
        check("x.unknownext", &["ext:unknownext", "dir:."]);
        check(&format!("{}/{}/x.png", "d".repeat(200), "e".repeat(100)), &["ext:png", "mime:image/png"]);
    }
}
