//! The part of Go's templates that `--format` needs: fields, variables, pipelines, `if`, `range`,
//! `with`, and Docker's functions (`json`, `join`, `split`, `upper`, `lower`, `title`, `truncate`,
//! `println`, `index`, `len`, comparisons). They are evaluated against JSON.

mod eval;
mod parse;

use anyhow::Result;
use serde_json::Value;

/// A template that can be rendered many times.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Template {
    nodes: Vec<parse::Node>,
}

impl Template {
    /// Reads a template.
    ///
    /// # Errors
    /// What does not belong there.
    pub(crate) fn parse(text: &str) -> Result<Template> {
        Ok(Template { nodes: parse::parse(text)? })
    }

    /// The text for this value.
    ///
    /// # Errors
    /// A field that is not there, or a function that can't take its arguments.
    pub(crate) fn render(&self, value: &Value) -> Result<String> {
        eval::render(&self.nodes, value)
    }
}

/// `\t` and `\n` typed in a shell's single quotes.
pub(crate) fn unescape(text: &str) -> String {
    text.replace("\\t", "\t").replace("\\n", "\n")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
    use super::*;
    use serde_json::json;

    fn shown(template: &str) -> String {
        let value = json!({
            "Name": "/box", "N": 3, "Zero": 0, "On": true, "Off": false, "Nothing": null, "Empty": "",
            "State": { "Health": { "Status": "healthy" } },
            "Labels": { "a.b": "x", "c": "y" },
            "List": ["p", "q"],
            "Nets": { "one": { "IP": "10.0.0.1" }, "two": { "IP": "10.0.0.2" } },
        });
        match Template::parse(template).and_then(|template| template.render(&value)) {
            Ok(text) => text,
            Err(error) => format!("ERROR {error:#}"),
        }
    }

    #[test]
    fn what_docker_leaves_out_is_empty_and_what_nobody_knows_is_an_error() {
        let value = serde_json::json!({
            "State": {"Status": "running"}, "Labels": {"a": "b"}, "Id": "sha256:0123456789",
            "Mounts": [{"Type": "bind", "Destination": "/a"}, {"Type": "volume", "Name": "v", "Destination": "/b"}],
        });
        let shown = |text: &str| Template::parse(text).unwrap().render(&value);
        let health = "{{if .State.Health}}{{.State.Health.Status}}{{else}}none{{end}}";
        assert_eq!(shown(health).unwrap(), "none");
        assert_eq!(shown("{{range .Mounts}}{{.Name}}|{{.Destination}} {{end}}").unwrap(), "|/a v|/b ");
        assert_eq!(shown("{{.Labels.zz}}{{if .Labels.zz}}yes{{end}}").unwrap(), "<no value>");
        assert_eq!(shown("{{slice .Id 7 11}}{{slice .Id 16}}").unwrap(), "01239");
        assert!(shown("{{.State.Nope}}").is_err() && shown("{{slice .Id 9 99}}").is_err());
    }

    #[test]
    fn what_docker_users_write() {
        for (template, text) in [
            ("plain", "plain"),
            ("{{.Name}} {{ .N }}", "/box 3"),
            ("{{.State.Health.Status}}", "healthy"),
            ("{{json .List}}", r#"["p","q"]"#),
            ("{{json .Labels}}", r#"{"a.b":"x","c":"y"}"#),
            ("{{.List}}", "[p q]"),
            ("{{.Labels}}", "map[a.b:x c:y]"),
            ("{{index .Labels \"a.b\"}}", "x"),
            ("{{index .List 1}}", "q"),
            ("{{range .Nets}}{{.IP}} {{end}}", "10.0.0.1 10.0.0.2 "),
            ("{{range $k, $v := .Nets}}{{$k}}={{$v.IP}};{{end}}", "one=10.0.0.1;two=10.0.0.2;"),
            ("{{range $i, $v := .List}}{{$i}}{{$v}}{{end}}", "0p1q"),
            ("{{range .Empty}}x{{else}}none{{end}}", "none"),
            ("{{if .On}}yes{{else}}no{{end}}", "yes"),
            ("{{if .Off}}a{{else if .Zero}}b{{else}}c{{end}}", "c"),
            ("{{if and .On (eq .N 3)}}both{{end}}", "both"),
            ("{{if or .Off .Empty}}any{{end}}", ""),
            ("{{with .State}}{{.Health.Status}}{{end}}", "healthy"),
            ("{{with $x := .N}}{{$x}}{{end}}", "3"),
            ("{{.Name | upper | json}}", "\"/BOX\""),
            ("{{join .List \", \"}}", "p, q"),
            ("{{range split \"a-b\" \"-\"}}[{{.}}]{{end}}", "[a][b]"),
            ("{{title \"web\"}} {{lower \"X\"}} {{truncate \"abcdef\" 3}}", "Web x abc"),
            ("{{len .List}}{{len .Name}}", "24"),
            ("{{println .N}}{{print .N \"x\"}}", "3\n3x"),
            ("{{printf \"%s-%d-%v-%q\" .Name .N .On .Name}}", "/box-3-true-\"/box\""),
            ("a {{- .N -}} b", "a3b"),
            ("{{/* nothing */}}x", "x"),
            ("{{$x := .N}}{{$x}}", "3"),
            ("{{.Nothing}}", "<nil>"),
            ("{{not .On}} {{ne .N 4}} {{lt .N 4}} {{ge .N 4}}", "false true true false"),
            ("{{(index .Nets \"one\").IP}}", "10.0.0.1"),
            ("{{$.Name}}{{range .List}}{{$.N}}{{end}}", "/box33"),
            ("{{`raw`}}{{\"q\\n\"}}", "rawq\n"),
        ] {
            assert_eq!(shown(template), text, "{template}");
        }
    }

    #[test]
    fn mistakes_are_told() {
        for (template, told) in [
            ("{{.Nope}}", "Nope"),
            ("{{.Name", "not closed"),
            ("{{if .On}}", "end"),
            ("{{end}}", "end"),
            ("{{shout .Name}}", "shout"),
            ("{{index .List 9}}", "9"),
            ("{{.Name.First}}", "First"),
            ("{{$nope}}", "$nope"),
            ("{{json}}", "json"),
            ("{{\"open}}", "closed"),
        ] {
            let text = shown(template);
            assert!(text.starts_with("ERROR") && text.contains(told), "{template}: {text}");
        }
    }
}
