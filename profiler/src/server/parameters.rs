//! What a request asks: query parameters in sets that endpoints share, each a struct. A name that no set of the endpoint has is refused,
//! for a misspelt filter must not answer for everything. (serde's `deny_unknown_fields` and `flatten` do not go together.)

use std::future::{Ready, ready};

use actix_web::dev::Payload;
use actix_web::web::Query;
use actix_web::{FromRequest, HttpRequest};
use serde::de::DeserializeOwned;
use utoipa::IntoParams;

use super::error::Failure;

/// The parameters of a request, as a tuple of sets.
#[derive(Debug)]
pub struct Parameters<T>(pub T);

impl<T: Sets> FromRequest for Parameters<T> {
    type Error = Failure;
    type Future = Ready<Result<Self, Failure>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        ready(parse(request.query_string()).map(Self))
    }
}

/// Sets of parameters.
pub trait Sets: Sized {
    /// The names in all of them.
    fn names() -> Vec<String>;

    /// Reads each set, whatever else is there.
    ///
    /// # Errors
    /// [`Failure::BadParameter`].
    fn read(query: &str) -> Result<Self, Failure>;
}

fn names<T: IntoParams>() -> impl Iterator<Item = String> {
    T::into_params(|| None).into_iter().map(|parameter| parameter.name)
}

fn read<T: DeserializeOwned>(query: &str) -> Result<T, Failure> {
    Query::from_query(query).map(Query::into_inner).map_err(|error| match error {
        actix_web::error::QueryPayloadError::Deserialize(error) => Failure::BadParameter(error.to_string()),
        other => Failure::BadParameter(other.to_string()),
    })
}

macro_rules! sets {
    ($($set:ident)+) => {
        impl<$($set: DeserializeOwned + IntoParams),+> Sets for ($($set,)+) {
            fn names() -> Vec<String> {
                let mut all = Vec::new();
                $(all.extend(names::<$set>());)+
                all
            }

            fn read(query: &str) -> Result<Self, Failure> {
                Ok(($(read::<$set>(query)?,)+))
            }
        }
    };
}

sets!(A B);
sets!(A B C);
sets!(A B C D);

fn parse<T: Sets>(query: &str) -> Result<T, Failure> {
    let given: Vec<(String, String)> = read(query)?;
    let known = T::names();
    if let Some((name, _)) = given.iter().find(|(name, _)| !known.contains(name)) {
        let name: String = name.chars().take(64).collect();
        return Err(Failure::BadParameter(format!("unknown parameter `{name}`: there are {}", known.join(", "))));
    }
    T::read(query)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use super::super::api::{BoxParams, LimitParams, RangeParams};
    use super::*;

    type Counted = (RangeParams, LimitParams, BoxParams);

    fn refusal(query: &str) -> String {
        match parse::<Counted>(query).unwrap_err() {
            Failure::BadParameter(detail) => detail,
            other => panic!("{other:?}"),
        }
    }

    /// Each set takes its own, numbers too.
    #[test]
    fn sets_share_a_query() {
        let (range, limit, area): Counted =
            parse("from=now-1h&limit=7&columns=60&filter=%7Bcomm%3D%22a+b%22%7D").unwrap();
        assert_eq!((range.from.as_deref(), range.filter.as_deref()), (Some("now-1h"), Some("{comm=\"a b\"}")));
        assert_eq!((limit.limit, area.columns, area.rows), (Some(7), Some(60), None));
        assert!(parse::<Counted>("").is_ok());
    }

    /// What is misspelt, given twice or no number is told by its name.
    #[test]
    fn what_no_set_has_is_refused() {
        assert!(refusal("fitler=x").starts_with("unknown parameter `fitler`: there are from, to, "));
        assert!(refusal("from=1&mode=bottomup").contains("`mode`"));
        assert!(refusal("from=1&from=2").contains("from"));
        assert!(refusal("limit=many").contains("invalid digit"));
        assert!(refusal(&"x".repeat(5_000)).len() < 300);
    }
}
