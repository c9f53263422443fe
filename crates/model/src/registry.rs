//! Logins of registries, as they travel with a call and with the services that they are for. `Debug` shows no more
//! than which registries they are of.

use crate::image::Reference;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;

/// The most that all logins of one request may have, in bytes; tokens of clouds have some 3 KiB.
const MOST: usize = 256 << 10;

/// What is shown to a registry. `Debug` never shows it.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Login {
    /// Name and password.
    Password {
        /// Name.
        user: String,
        /// Password.
        password: String,
    },
    /// A token to get tokens with.
    Refresh(String),
    /// A token to be sent as it is.
    Bearer(String),
}

impl Login {
    fn bytes(&self) -> usize {
        match self {
            Login::Password { user, password } => user.len() + password.len(),
            Login::Refresh(token) | Login::Bearer(token) => token.len(),
        }
    }
}

impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Login::Password { .. } => "Password(…)",
            Login::Refresh(_) => "Refresh(…)",
            Login::Bearer(_) => "Bearer(…)",
        })
    }
}

/// Logins by registry, as [`Reference::host`] names it.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Logins(BTreeMap<String, Login>);

impl Logins {
    /// None.
    pub const NONE: &Logins = &Logins(BTreeMap::new());

    /// Are there none?
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// That for a registry.
    pub fn get(&self, host: &str) -> Option<&Login> {
        self.0.get(host)
    }

    /// The registries.
    pub fn hosts(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    /// Those of registries that there are none of yet.
    pub fn add(&mut self, others: &Logins) {
        for (host, login) in &others.0 {
            self.0.entry(host.clone()).or_insert_with(|| login.clone());
        }
    }

    /// No more than what this image needs; nothing where the text is no reference.
    #[must_use]
    pub fn for_image(&self, image: &str) -> Logins {
        let Ok(reference) = image.parse::<Reference>() else { return Logins::default() };
        let login = self.get(reference.host()).cloned();
        login.map(|login| (reference.host().to_owned(), login)).into_iter().collect()
    }

    /// Is it more than anybody has?
    pub fn is_too_much(&self) -> bool {
        self.0.iter().map(|(host, login)| host.len() + login.bytes()).sum::<usize>() > MOST
    }
}

impl FromIterator<(String, Login)> for Logins {
    fn from_iter<T: IntoIterator<Item = (String, Login)>>(logins: T) -> Logins {
        Logins(logins.into_iter().collect())
    }
}

impl fmt::Debug for Logins {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
    use super::*;

    fn logins() -> Logins {
        let password = Login::Password { user: "joe".to_owned(), password: "hunter2".to_owned() };
        let tokens =
            [("docker.io", Login::Refresh("hunter2".to_owned())), ("b:1", Login::Bearer("hunter2".to_owned()))];
        let tokens = tokens.map(|(host, login)| (host.to_owned(), login));
        tokens.into_iter().chain([("a:5000".to_owned(), password)]).collect()
    }

    #[test]
    fn what_is_debugged_tells_no_secret() {
        let logins = logins();
        let told = format!("{logins:?} {:?}", logins.0.values());
        assert!(told.contains("a:5000") && !told.contains("hunter2") && !told.contains("joe"), "{told}");
        let text = serde_json::to_string(&logins).unwrap();
        assert_eq!(serde_json::from_str::<Logins>(&text).unwrap(), logins);
    }

    #[test]
    fn an_image_gets_the_login_of_its_registry_only() {
        let hosts = |image: &str| logins().for_image(image).hosts().map(str::to_owned).collect::<Vec<_>>();
        assert_eq!(hosts("a:5000/shop/web:1"), ["a:5000"]);
        assert_eq!(hosts("busybox"), ["docker.io"]);
        assert_eq!(hosts("c:5000/web"), [""; 0]);
        assert_eq!(hosts("NO/Reference"), [""; 0]);
    }

    #[test]
    fn what_nobody_has_is_too_much() {
        assert!(!logins().is_too_much());
        let long: Logins = [("a".to_owned(), Login::Bearer("x".repeat(MOST)))].into_iter().collect();
        assert!(long.is_too_much());
    }
}
