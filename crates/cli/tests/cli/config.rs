//! `config --explain`.

use crate::fake::Fake;
use crate::run;
use crate::stacks::write;

const FILE: &str = "name: shop\nservices:\n  web:\n    image: web:${TAG:-1}\n    ports: [\"${PORT}:80\"]\n";

#[test]
fn explain_tells_where_a_value_came_from() {
    let fake = Fake::new(|asked| panic!("{asked:?}"));
    write(&fake, FILE);
    std::fs::write(fake.root.path().join(".env"), "PORT=8080\n").unwrap();
    assert_eq!(
        run(&fake, &["config", "--explain", "services.web.ports[0].published"]),
        "exit 0\n-- out\nservices.web.ports[0].published: \"8080\"\n  part of the short form `${PORT}:80` at \
         compose.yaml:5:13\n  filled in from `${PORT}:80` at compose.yaml:5:13\n  `PORT` is `8080`, set by the \
         project's env file .env:1\n-- err\n"
    );
    let output = run(&fake, &["config", "--explain", "services.web.image"]);
    assert!(output.contains("`TAG` is not set or empty: its default is `1`"), "{output}");
    let output = run(&fake, &["config", "--explain", "services.web.prots"]);
    assert!(output.starts_with("exit 1\n-- out\n-- err\nerror: there is no `prots` in services.web"), "{output}");
    assert!(output.contains("did you mean `ports`"), "{output}");
}
