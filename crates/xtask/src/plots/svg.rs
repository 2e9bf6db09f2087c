//! SVG as text: elements with escaped contents and numbers of one decimal at most, so that the bytes are the same everywhere.
//!
//! No script, no font of its own, and colours that follow the reader's light or dark mode.

/// Colours and shapes, light and dark. Classes keep the files small.
const STYLE: &str = "\
.page{fill:#ffffff}text{fill:#1f2328;font:12px system-ui,sans-serif}.dim{fill:#59636e}.head{font-weight:600}\
.title{font-size:16px;font-weight:600}.end{text-anchor:end}.mid{text-anchor:middle}\
.own{fill:#0969da}.peer{fill:#9aa4af}.ref{fill:#e6eaef;stroke:#9aa4af;stroke-dasharray:3 2}\
.grid{stroke:#d1d9e0}.span{stroke:#9aa4af}.dot{fill:#1f2328}.ring{fill:#ffffff;stroke:#1f2328}\
@media(prefers-color-scheme:dark){.page{fill:#0d1117}text{fill:#e6edf3}.dim{fill:#9198a1}\
.own{fill:#4493f8}.peer{fill:#656c76}.ref{fill:#21262d;stroke:#656c76}\
.grid{stroke:#30363d}.span{stroke:#656c76}.dot{fill:#e6edf3}.ring{fill:#0d1117;stroke:#e6edf3}}";

/// A picture that is being drawn.
#[derive(Debug, Default)]
pub(super) struct Svg {
    body: String,
}

impl Svg {
    pub(super) fn text(&mut self, class: &str, x: f64, y: f64, text: &str) {
        let (x, y) = (number(x), number(y));
        self.line(&format!("<text{} x=\"{x}\" y=\"{y}\">{}</text>", class_of(class), escaped(text)));
    }

    /// A bar from the left; what it says when it is pointed at, too.
    pub(super) fn bar(&mut self, class: &str, [x, y, width, height]: [f64; 4]) {
        let [x, y, width, height] = [x, y, width, height].map(number);
        self.line(&format!(
            "<rect{} x=\"{x}\" y=\"{y}\" width=\"{width}\" height=\"{height}\" rx=\"2\"/>",
            class_of(class)
        ));
    }

    pub(super) fn stroke(&mut self, class: &str, [x1, y1, x2, y2]: [f64; 4]) {
        let [x1, y1, x2, y2] = [x1, y1, x2, y2].map(number);
        self.line(&format!("<line{} x1=\"{x1}\" y1=\"{y1}\" x2=\"{x2}\" y2=\"{y2}\"/>", class_of(class)));
    }

    pub(super) fn circle(&mut self, class: &str, x: f64, y: f64, radius: f64) {
        let [x, y, radius] = [x, y, radius].map(number);
        self.line(&format!("<circle{} cx=\"{x}\" cy=\"{y}\" r=\"{radius}\"/>", class_of(class)));
    }

    /// A square that stands on its corner.
    pub(super) fn diamond(&mut self, class: &str, x: f64, y: f64, radius: f64) {
        let points = [(x - radius, y), (x, y - radius), (x + radius, y), (x, y + radius)];
        let points = points.map(|(x, y)| format!("{},{}", number(x), number(y))).join(" ");
        self.line(&format!("<polygon{} points=\"{points}\"/>", class_of(class)));
    }

    fn line(&mut self, element: &str) {
        self.body.push_str(element);
        self.body.push('\n');
    }

    /// The whole file.
    pub(super) fn finish(self, width: f64, height: f64, title: &str, description: &str) -> String {
        let (width, height) = (number(width), number(height));
        let (title, description) = (escaped(title), escaped(description));
        format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" width=\"{width}\" height=\"{height}\" \
             role=\"img\" aria-labelledby=\"title description\">\n<title id=\"title\">{title}</title>\n\
             <desc id=\"description\">{description}</desc>\n<style>{STYLE}</style>\n\
             <rect class=\"page\" width=\"{width}\" height=\"{height}\"/>\n{}</svg>\n",
            self.body
        )
    }
}

fn class_of(class: &str) -> String {
    if class.is_empty() { String::new() } else { format!(" class=\"{class}\"") }
}

/// At most one decimal, and none where it is zero.
fn number(number: f64) -> String {
    let text = format!("{number:.1}");
    text.strip_suffix(".0").map_or(text.clone(), str::to_owned)
}

fn escaped(text: &str) -> String {
    let mut out = String::new();
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            // XML has no other control characters.
            c if c.is_control() => out.push(' '),
            c => out.push(c),
        }
    }
    out
}

/// Text as a part of a file's name.
pub(super) fn file_name(text: &str) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' };
    text.chars().map(plain).collect::<String>().trim_matches('-').to_owned()
}

/// What is wrong with the text as XML, as far as these pictures use it: elements that nest, attributes in double quotes, none twice,
/// references to the five known entities.
#[cfg(test)]
pub(super) fn fault(text: &str) -> Option<String> {
    let mut open: Vec<&str> = Vec::new();
    let mut rest = text;
    let mut has_root = false;
    while let Some((before, after)) = rest.split_once('<') {
        if let Some(fault) = text_fault(before) {
            return Some(fault);
        }
        if open.is_empty() && !before.trim().is_empty() {
            return Some(format!("text outside of the root: {before}"));
        }
        let Some((tag, after)) = after.split_once('>') else { return Some(format!("no end of <{after}")) };
        if let Some(name) = tag.strip_prefix('/') {
            if open.pop() != Some(name) {
                return Some(format!("</{name}> ends nothing"));
            }
        } else {
            if open.is_empty() && has_root {
                return Some("two roots".into());
            }
            has_root = true;
            let inner = tag.strip_suffix('/').unwrap_or(tag);
            if let Some(fault) = tag_fault(inner) {
                return Some(fault);
            }
            if inner == tag {
                open.push(inner.split(' ').next().unwrap_or_default());
            }
        }
        rest = after;
    }
    let left = open.pop().map(|name| format!("<{name}> has no end"));
    left.or_else(|| (!rest.trim().is_empty() || !has_root).then(|| "text behind the root, or none".into()))
}

#[cfg(test)]
fn text_fault(text: &str) -> Option<String> {
    let known = ["amp;", "lt;", "gt;", "quot;", "apos;"];
    let stray = text.split('&').skip(1).find(|after| !known.iter().any(|name| after.starts_with(name)));
    stray
        .map(|after| format!("& before {after}"))
        .or_else(|| text.contains('>').then(|| format!("> in {text}")))
}

/// `name a="…" b="…"`.
#[cfg(test)]
fn tag_fault(tag: &str) -> Option<String> {
    let is_name = |name: &str| {
        name.starts_with(|c: char| c.is_ascii_alphabetic())
            && name.chars().all(|c| c.is_ascii_alphanumeric() || "-:_".contains(c))
    };
    let mut words = tag.splitn(2, ' ');
    let name = words.next().unwrap_or_default();
    if !is_name(name) {
        return Some(format!("<{tag}> has no name"));
    }
    let mut seen: Vec<&str> = Vec::new();
    let mut rest = words.next().unwrap_or_default().trim();
    while !rest.is_empty() {
        let attribute = rest.split_once("=\"").and_then(|(name, after)| {
            let (value, after) = after.split_once('"')?;
            Some((name, value, after))
        });
        let Some((name, value, after)) = attribute else { return Some(format!("no attribute: {rest}")) };
        if !is_name(name) || seen.contains(&name) || !(after.is_empty() || after.starts_with(' ')) {
            return Some(format!("attribute {name} of <{tag}>"));
        }
        if let Some(fault) = text_fault(value) {
            return Some(fault);
        }
        seen.push(name);
        rest = after.trim_start();
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_xml_is_found() {
        for wrong in [
            "",
            "text",
            "<a>",
            "<a></b>",
            "<a><b></a></b>",
            "<a/><b/>",
            "<a/>text",
            "<a x=1/>",
            "<a x=\"1\" x=\"2\"/>",
            "<a x=\"1\"y=\"2\"/>",
            "<a x=\"1/>",
            "<a>1 & 2</a>",
            "<a>1 > 2</a>",
            "<a x=\"&no;\"/>",
            "<1/>",
        ] {
            assert!(fault(wrong).is_some(), "{wrong}");
        }
        assert_eq!(fault("<a x=\"1\" y-z=\"&lt;\">\n<b/>1 &amp; 2<c>3</c>\n</a>\n"), None);
    }

    #[test]
    fn any_text_is_escaped() {
        let mut svg = Svg::default();
        svg.text("dim", 1.0, 2.25, "a<b & \"c\" > \u{1}d");
        svg.diamond("dot", 5.0, 5.0, 2.0);
        let text = svg.finish(10.0, 20.0, "<&>", "\"");
        assert_eq!(fault(&text), None);
        assert!(
            text.contains("<text class=\"dim\" x=\"1\" y=\"2.2\">a&lt;b &amp; &quot;c&quot; &gt;  d</text>")
        );
    }

    #[test]
    fn numbers_are_short_and_names_are_plain() {
        assert_eq!((number(3.0).as_str(), number(0.25).as_str()), ("3", "0.2"));
        assert_eq!(file_name("YCSB-A (new)"), "ycsb-a--new");
    }
}
