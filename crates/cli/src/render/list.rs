//! Lists in every format that Docker's `--format` has.

use super::table::table;
use crate::args::Listing;
use crate::template::{Template, unescape};
use anyhow::Result;
use serde_json::{Map, Value};

/// A list: what each row has, and what is shown when nobody says otherwise.
pub(crate) struct List {
    /// Field names with their headings, such as `("Names", "NAMES")`.
    pub(crate) headings: &'static [(&'static str, &'static str)],
    /// Fields of the table, in order.
    pub(crate) columns: Vec<&'static str>,
    /// The field that `-q` prints.
    pub(crate) key: &'static str,
    /// The rows.
    pub(crate) rows: Vec<Row>,
}

/// One row.
#[derive(Debug, Clone, Default)]
pub(crate) struct Row {
    fields: Map<String, Value>,
    labels: Map<String, Value>,
}

impl Row {
    /// The same row with one field more.
    #[must_use]
    pub(crate) fn with(mut self, name: &str, value: impl Into<String>) -> Self {
        self.fields.insert(name.to_owned(), Value::String(value.into()));
        self
    }

    /// The same row with labels: the field `Labels`, and what `.Label "key"` looks into.
    #[must_use]
    pub(crate) fn labels<'a>(mut self, labels: impl IntoIterator<Item = (&'a String, &'a String)>) -> Self {
        let pairs: Vec<(&String, &String)> = labels.into_iter().collect();
        let joined: Vec<String> = pairs.iter().map(|(key, value)| format!("{key}={value}")).collect();
        self.labels = pairs.into_iter().map(|(key, value)| (key.clone(), Value::from(value.clone()))).collect();
        self.with("Labels", joined.join(","))
    }

    fn field(&self, name: &str) -> String {
        self.fields.get(name).and_then(Value::as_str).unwrap_or_default().to_owned()
    }

    fn for_template(&self) -> Value {
        let mut map = self.fields.clone();
        map.insert("Label".to_owned(), Value::Object(self.labels.clone()));
        Value::Object(map)
    }
}

impl List {
    /// The text of the list; empty when there is nothing to print.
    ///
    /// # Errors
    /// A template that makes no sense or names a field that is not there.
    pub(crate) fn render(&self, listing: &Listing) -> Result<String> {
        let format = listing.format.as_deref().unwrap_or("table");
        if listing.quiet && matches!(format, "table" | "json") {
            return Ok(self.rows.iter().map(|row| row.field(self.key) + "\n").collect());
        }
        match format {
            "table" | "" => Ok(table(&self.plain())),
            "json" => Ok(self.rows.iter().map(|row| format!("{}\n", Value::Object(row.fields.clone()))).collect()),
            _ => match format.strip_prefix("table ") {
                Some(template) => self.columns_by(&Template::parse(&unescape(template))?),
                None => {
                    // `{{json .}}` shows no helper fields.
                    let wants_all = format.contains("json .}}") || format.contains("json . ");
                    let template = Template::parse(&unescape(format))?;
                    let one = |row: &Row| {
                        let value = if wants_all { Value::Object(row.fields.clone()) } else { row.for_template() };
                        template.render(&value).map(|text| text + "\n")
                    };
                    self.rows.iter().map(one).collect()
                }
            },
        }
    }

    fn heading(&self, field: &str) -> String {
        let known = self.headings.iter().find(|(name, _)| *name == field);
        known.map_or_else(|| field.to_uppercase(), |(_, heading)| (*heading).to_owned())
    }

    fn plain(&self) -> Vec<Vec<String>> {
        let heads = self.columns.iter().map(|field| self.heading(field)).collect();
        let rows = self.rows.iter().map(|row| self.columns.iter().map(|field| row.field(field)).collect());
        std::iter::once(heads).chain(rows).collect()
    }

    /// `table TEMPLATE`: the headings come from the same template; tabs separate columns.
    fn columns_by(&self, template: &Template) -> Result<String> {
        let mut heads: Map<String, Value> =
            self.headings.iter().map(|(name, heading)| ((*name).to_owned(), Value::from(*heading))).collect();
        heads.insert("Label".to_owned(), Value::Object(Map::new()));
        let split = |text: String| text.split('\t').map(str::to_owned).collect::<Vec<_>>();
        let mut rows = vec![split(template.render(&Value::Object(heads))?)];
        for row in &self.rows {
            rows.push(split(template.render(&row.for_template())?));
        }
        Ok(table(&rows))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
    use super::*;

    fn shown(format: Option<&str>, quiet: bool) -> String {
        let labels = std::collections::BTreeMap::from([("a".to_owned(), "b".to_owned())]);
        let list = List {
            headings: &[("ID", "THING ID"), ("Name", "NAME"), ("Labels", "LABELS")],
            columns: vec!["ID", "Name"],
            key: "ID",
            rows: vec![Row::default().with("ID", "1").with("Name", "one").labels(&labels)],
        };
        list.render(&Listing { format: format.map(str::to_owned), quiet, no_trunc: false }).unwrap()
    }

    #[test]
    fn every_format() {
        assert_eq!(shown(None, false), "THING ID   NAME\n1          one\n");
        assert_eq!(shown(None, true), "1\n");
        assert_eq!(shown(Some("json"), false), "{\"ID\":\"1\",\"Labels\":\"a=b\",\"Name\":\"one\"}\n");
        assert_eq!(shown(Some("{{json .}}"), false), "{\"ID\":\"1\",\"Labels\":\"a=b\",\"Name\":\"one\"}\n");
        assert_eq!(shown(Some("{{.Name}}:{{.Label \"a\"}}"), false), "one:b\n");
        assert_eq!(shown(Some("table {{.Name}}\\t{{.ID}}"), false), "NAME      THING ID\none       1\n");
    }
}
