//! `login`: does a registry take a login?

use super::challenge::{self, Challenge};
use super::{Registry, auth, said, tls};
use crate::error::{Error, Result};
use model::Login;
use reqwest::header::{AUTHORIZATION, HeaderValue, WWW_AUTHENTICATE};
use reqwest::{Response, StatusCode};

impl Registry {
    /// Asks a registry whether it takes a login (distribution spec, `GET /v2/`).
    ///
    /// # Errors
    /// [`Error::Denied`]: it does not. It can't be reached, or is none.
    pub(crate) async fn check(&self, host: &str, login: &Login) -> Result<()> {
        let asked = self.base(host, None).await?;
        if asked.status() != StatusCode::UNAUTHORIZED {
            return accepted(host, asked).await;
        }
        let headers = asked.headers().get_all(WWW_AUTHENTICATE).iter();
        let challenges: Vec<String> = headers.filter_map(|value| value.to_str().ok().map(str::to_owned)).collect();
        let denied =
            |why: &str| Error::Denied { host: host.to_owned(), what: "its API".to_owned(), why: why.to_owned() };
        let proof = match (challenge::choose(&challenges), login) {
            (None, _) => return Err(denied("it asks for a kind of login that is not known here")),
            (Some(Challenge::Basic), Login::Password { user, password }) => auth::basic(user, password),
            (Some(Challenge::Basic), _) => return Err(denied("it wants a name and a password")),
            (Some(Challenge::Bearer { realm, service, scope }), login) => {
                let (client, _) = self.endpoint(host).await?;
                let scope = scope.unwrap_or_default();
                auth::token(&client, host, &realm, service.as_deref(), &scope, Some(login.clone())).await?.0
            }
        };
        let mut proof =
            HeaderValue::from_str(&proof).map_err(|_| denied("the login has characters that can't be sent"))?;
        proof.set_sensitive(true);
        accepted(host, self.base(host, Some(proof)).await?).await
    }

    async fn base(&self, host: &str, proof: Option<HeaderValue>) -> Result<Response> {
        let (client, base) = self.endpoint(host).await?;
        let mut request = client.get(format!("{base}/v2/"));
        if let Some(proof) = proof {
            request = request.header(AUTHORIZATION, proof);
        }
        request.send().await.map_err(|error| {
            let (host, what) = (host.to_owned(), "ask for its API".to_owned());
            let problem = tls::problem(&error);
            let source = Box::new(error.without_url());
            match problem {
                Some(problem) => Error::Tls { host, what, problem, source },
                None => Error::Network { host, what, source },
            }
        })
    }
}

async fn accepted(host: &str, response: Response) -> Result<()> {
    let status = response.status();
    if status.is_success() {
        return Ok(());
    }
    let (host, why) = (host.to_owned(), said(response).await);
    let what = "its API".to_owned();
    Err(match status {
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Error::Denied { host, what, why },
        status => Error::Registry { host, what, status: status.as_u16(), why },
    })
}
