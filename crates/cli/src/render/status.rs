//! Progress of `up` and `down`: redrawn in place on a terminal, a line for each change elsewhere.

use crate::follow::{Line, Standing};
use crate::printer::{Colour, Printer, paint};
use crate::render::human::ellipsis;
use std::collections::BTreeMap;
use std::time::Duration;

/// Shows lines that change.
#[derive(Debug)]
pub(crate) struct Screen {
    printer: Printer,
    quiet: bool,
    drawn: usize,
    said: BTreeMap<String, String>,
    frame: usize,
}

const WHEEL: [&str; 8] = ["⠋", "⠙", "⠸", "⠴", "⠦", "⠇", "⠏", "⠋"];

impl Screen {
    pub(crate) fn new(printer: Printer, quiet: bool) -> Screen {
        Screen { printer, quiet, drawn: 0, said: BTreeMap::new(), frame: 0 }
    }

    /// Shows the lines as they are now.
    pub(crate) fn show(&mut self, title: &str, lines: &[Line], since: Duration) {
        if self.quiet {
        } else if self.printer.live {
            let size = crate::terminal::size().unwrap_or((24, 80));
            let text = self.block(title, lines, since, size);
            self.printer.raw_err(&text);
        } else {
            for text in self.changes(lines) {
                self.printer.say(&text);
            }
        }
    }

    /// What a terminal of this size (rows, columns) is sent: the cursor goes up to where the last
    /// block began, and the new one is drawn over it.
    fn block(&mut self, title: &str, lines: &[Line], since: Duration, size: (u16, u16)) -> String {
        let (rows, columns) = (usize::from(size.0), usize::from(size.1));
        self.frame += 1;
        let colour = self.printer.colour_err;
        let mut out = String::new();
        if self.drawn > 0 {
            out.push_str(&format!("\x1b[{}A", self.drawn));
        }
        let ready = lines.iter().filter(|line| line.standing == Standing::Ready).count();
        let head = format!("{title}  {ready}/{} services  {:.1}s", lines.len(), since.as_secs_f64());
        let width = lines.iter().map(|line| line.key.chars().count()).max().unwrap_or(0);
        // What is done is left out first when the terminal is too low.
        let room = rows.saturating_sub(3).max(1);
        let mut shown: Vec<&Line> = lines.iter().collect();
        if shown.len() > room {
            shown.sort_by_key(|line| line.standing == Standing::Ready);
            shown.truncate(room);
        }
        let mut texts = vec![paint(colour, Colour::Bold, &ellipsis(&head, columns.saturating_sub(1)))];
        for line in &shown {
            let text = format!("{:width$}  {}", line.key, words(line));
            let text = ellipsis(&text, columns.saturating_sub(5));
            texts.push(format!(" {} {text}", self.mark(line.standing)));
        }
        if shown.len() < lines.len() {
            texts.push(format!("   … and {} more", lines.len() - shown.len()));
        }
        self.drawn = texts.len();
        for text in texts {
            out.push_str(&text);
            out.push_str("\x1b[K\n");
        }
        out.push_str("\x1b[J");
        out
    }

    fn mark(&self, standing: Standing) -> String {
        let colour = self.printer.colour_err;
        match standing {
            Standing::Ready => paint(colour, Colour::Green, "✔"),
            Standing::Failed => paint(colour, Colour::Red, "✘"),
            Standing::Working | Standing::Leaving => {
                paint(colour, Colour::Cyan, WHEEL.get(self.frame % WHEEL.len()).copied().unwrap_or("·"))
            }
        }
    }

    /// Lines that say something new since the last time.
    fn changes(&mut self, lines: &[Line]) -> Vec<String> {
        let mut news = Vec::new();
        for line in lines {
            let text = format!("{}: {}", line.key, words(line));
            if self.said.get(&line.key) != Some(&text) {
                self.said.insert(line.key.clone(), text.clone());
                news.push(text);
            }
        }
        let gone: Vec<String> =
            self.said.keys().filter(|key| !lines.iter().any(|line| line.key == **key)).cloned().collect();
        for key in gone {
            self.said.remove(&key);
            news.push(format!("{key}: removed"));
        }
        news
    }
}

fn words(line: &Line) -> String {
    match line.standing {
        Standing::Leaving if line.wanted == 0 => line.phase.clone(),
        Standing::Leaving => format!("{} {}", line.phase, line.wanted),
        _ => format!("{}/{} {}", line.ready, line.wanted, line.phase),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(key: &str, standing: Standing, ready: usize, phase: &str) -> Line {
        Line { key: key.to_owned(), standing, ready, wanted: 2, phase: phase.to_owned() }
    }

    fn screen(live: bool) -> Screen {
        Screen::new(Printer { live, colour_out: false, colour_err: false }, false)
    }

    #[test]
    fn plain_lines_tell_changes_once() {
        let mut screen = screen(false);
        let first = [line("db", Standing::Ready, 2, "running"), line("web", Standing::Working, 0, "preparing")];
        assert_eq!(screen.changes(&first), ["db: 2/2 running", "web: 0/2 preparing"]);
        assert!(screen.changes(&first).is_empty());
        let then = [line("web", Standing::Failed, 1, "failed")];
        assert_eq!(screen.changes(&then), ["web: 1/2 failed", "db: removed"]);
    }

    #[test]
    fn a_terminal_is_redrawn_from_where_the_last_block_began() {
        let mut screen = screen(true);
        let lines = [line("db", Standing::Ready, 2, "running"), line("web", Standing::Working, 0, "preparing")];
        let first = screen.block("shop", &lines, Duration::from_millis(1234), (24, 80));
        assert_eq!(
            first,
            "shop  1/2 services  1.2s\x1b[K\n ✔ db   2/2 running\x1b[K\n ⠙ web  0/2 preparing\x1b[K\n\x1b[J"
        );
        let second = screen.block("shop", &lines, Duration::from_millis(1300), (24, 80));
        assert!(second.starts_with("\x1b[3A"), "{second:?}");
    }

    #[test]
    fn a_small_terminal_shows_what_is_not_done_and_never_wraps() {
        let mut screen = screen(true);
        let mut lines: Vec<Line> = (0..20).map(|n| line(&format!("s{n:02}"), Standing::Ready, 2, "running")).collect();
        lines.push(line("zz", Standing::Working, 0, "a very long explanation of what it waits for"));
        let text = screen.block("shop", &lines, Duration::ZERO, (6, 24));
        assert!(text.contains("zz") && text.contains("and 18 more"), "{text}");
        let longest = text.lines().map(|line| line.replace("\x1b[K", "").replace("\x1b[J", "").chars().count()).max();
        assert!(longest <= Some(24), "{text}");
        assert_eq!(screen.drawn, 5);
    }
}
