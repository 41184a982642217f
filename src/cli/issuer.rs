//! The issuer of the operator's own ServiceAccount token.
//!
//! The claim is read without checking the signature: nothing to check it with is at hand, and the file is as trustworthy as the rest of the
//! pod. A wrong value makes roles unusable, not wider: the trust policy of a workload role names the account's OIDC provider of this URL,
//! so that AWS would refuse every token; and the very same token is what AWS checks before the operator becomes anybody.

use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;

#[derive(Deserialize)]
struct Claims {
    iss: String,
}

/// The `iss` claim of a JSON Web Token; `None` if it is none.
pub(super) fn of_token(token: &str) -> Option<String> {
    let mut parts = token.trim().split('.');
    let (Some(_), Some(payload), Some(_), None) = (parts.next(), parts.next(), parts.next(), parts.next()) else {
        return None;
    };
    let bytes = URL_SAFE_NO_PAD.decode(payload.trim_end_matches('=')).ok()?;
    serde_json::from_slice::<Claims>(&bytes).ok().map(|c| c.iss)
}

/// The `iss` claim of the token in a file; the error says in words why not. The token itself is never part of it.
pub(super) fn of_file(path: &Path) -> Result<String, String> {
    let token = std::fs::read_to_string(path).map_err(|e| format!("{} cannot be read ({e})", path.display()))?;
    of_token(&token).ok_or_else(|| format!("{} holds no JSON Web Token with an issuer", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(payload: &str) -> String {
        format!("e30.{}.c2ln\n", URL_SAFE_NO_PAD.encode(payload))
    }

    #[test]
    fn the_claim_is_found() {
        let token = token(r#"{"aud":["sts.amazonaws.com"],"iss":"https://oidc.x/id/A?>","sub":"s"}"#);
        assert_eq!(of_token(&token).as_deref(), Some("https://oidc.x/id/A?>"));
    }

    #[test]
    fn what_is_no_token_has_none() {
        for bad in ["", "a.b", "a.b.c", "a.b.c.d", &token("{}"), &token("[]"), &token(r#"{"iss":7}"#), "e30.!!.c2ln"] {
            assert_eq!(of_token(bad), None, "{bad}");
        }
    }
}
