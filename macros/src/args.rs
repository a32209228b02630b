//! The arguments of an attribute: `procs = 2, crate = path`.
#![forbid(unsafe_code)]

use proc_macro2::TokenStream;
use quote::{ToTokens, quote};
use syn::ext::IdentExt;
use syn::parse::{ParseStream, Parser};
use syn::{Error, Expr, ExprLit, Ident, Lit, Path, Result, Token};

/// The most processors a runtime can have: `MAX_PROCS` of gort-runtime, on which this crate cannot
/// depend. Were they to differ, starting the runtime would still check its own.
const MAX_PROCS: usize = 1024;

/// Which arguments the attribute knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Attribute {
    /// `#[gort::main]`.
    Main,
    /// `#[gort::test]`.
    Test,
}

/// What stands in the parentheses.
#[derive(Debug)]
pub(crate) struct Args {
    /// The number of processors, if given.
    pub(crate) procs: Option<usize>,
    /// The path of the crate that holds `run` and `__private`.
    pub(crate) krate: TokenStream,
}

impl Args {
    /// Parses the arguments of `attribute`.
    pub(crate) fn parse(attribute: Attribute, tokens: TokenStream) -> Result<Args> {
        (|input: ParseStream<'_>| parse(attribute, input)).parse2(tokens)
    }
}

fn parse(attribute: Attribute, input: ParseStream<'_>) -> Result<Args> {
    let (mut procs, mut krate) = (None, None);
    while !input.is_empty() {
        let key = input.call(Ident::parse_any)?;
        let known = match (attribute, key.to_string().as_str()) {
            (Attribute::Test, "procs") => {
                parse_value(input, &key, PROCS_HINT)?;
                set(&mut procs, &key, parse_procs(input)?)
            }
            (_, "crate") => {
                parse_value(input, &key, CRATE_HINT)?;
                let path = input.call(Path::parse_mod_style);
                let path = path.map_err(|error| Error::new(error.span(), CRATE_HINT))?;
                set(&mut krate, &key, path.into_token_stream())
            }
            (Attribute::Test, _) => {
                Err(Error::new(key.span(), "unknown argument: expected `procs` or `crate`"))
            }
            (Attribute::Main, "procs") => Err(Error::new(
                key.span(),
                "`main` has no `procs`: set GOMAXPROCS, or use `gort::runtime::Builder` in a plain `fn main`",
            )),
            (Attribute::Main, _) => Err(Error::new(key.span(), "unknown argument: expected `crate`")),
        };
        known?;
        if !input.is_empty() {
            input.parse::<Token![,]>()?;
        }
    }
    Ok(Args { procs, krate: krate.unwrap_or_else(|| quote!(::gort)) })
}

const PROCS_HINT: &str = "expected a number of processors from 1 to 1024: `procs = 2`";
const CRATE_HINT: &str = "expected a path: `crate = path::to::gort`";

/// The sign between key and value, which must not be the last token.
fn parse_value(input: ParseStream<'_>, key: &Ident, hint: &str) -> Result<()> {
    let sign = input.parse::<Token![=]>();
    if sign.is_err() || input.is_empty() { Err(Error::new(key.span(), hint)) } else { Ok(()) }
}

fn parse_procs(input: ParseStream<'_>) -> Result<usize> {
    let value: Expr = input.parse()?;
    if let Expr::Lit(ExprLit { lit: Lit::Int(number), .. }) = &value
        && let Ok(procs @ 1..=MAX_PROCS) = number.base10_parse()
    {
        return Ok(procs);
    }
    Err(Error::new_spanned(value, PROCS_HINT))
}

/// Stores the value of an argument, which may be given once.
fn set<T>(place: &mut Option<T>, key: &Ident, value: T) -> Result<()> {
    match place.replace(value) {
        None => Ok(()),
        Some(_) => Err(Error::new(key.span(), format!("`{key}` is given twice"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn test(tokens: TokenStream) -> Args {
        Args::parse(Attribute::Test, tokens).unwrap()
    }

    fn refusal(attribute: Attribute, tokens: TokenStream) -> String {
        Args::parse(attribute, tokens).unwrap_err().to_string()
    }

    #[test]
    fn nothing_means_the_defaults() {
        let args = test(quote!());
        assert_eq!(args.procs, None);
        assert_eq!(args.krate.to_string(), ":: gort");
    }

    #[test]
    fn procs_is_a_number_from_1_to_1024() {
        assert_eq!(test(quote!(procs = 1)).procs, Some(1));
        assert_eq!(test(quote!(procs = 1_024,)).procs, Some(1024));
        assert_eq!(test(quote!(procs = 2usize)).procs, Some(2));
    }

    #[test]
    fn the_hint_names_the_limit() {
        assert!(PROCS_HINT.contains(&format!("1 to {MAX_PROCS}:")));
    }

    #[test]
    fn procs_that_is_no_such_number_is_an_error() {
        for tokens in [
            quote!(procs = 0),
            quote!(procs = 1025),
            quote!(procs = -1),
            quote!(procs = "x"),
            quote!(procs = 1.5),
            quote!(procs = N),
            quote!(procs = 99999999999999999999999),
            quote!(procs),
            quote!(procs =),
            quote!(procs(2)),
        ] {
            assert_eq!(refusal(Attribute::Test, tokens.clone()), PROCS_HINT, "{tokens}");
        }
    }

    #[test]
    fn crate_is_a_path() {
        for (tokens, path) in [
            (quote!(crate = gort_runtime), "gort_runtime"),
            (quote!(crate = ::a::b), ":: a :: b"),
            (quote!(crate = crate), "crate"),
            (quote!(procs = 2, crate = self::x,), "self :: x"),
        ] {
            assert_eq!(test(tokens).krate.to_string(), path);
        }
        for tokens in [quote!(crate), quote!(crate =), quote!(crate = "gort"), quote!(crate = 1)] {
            assert_eq!(refusal(Attribute::Main, tokens), CRATE_HINT);
        }
    }

    #[test]
    fn unknown_and_repeated_arguments_are_errors() {
        assert_eq!(
            refusal(Attribute::Test, quote!(proc = 2)),
            "unknown argument: expected `procs` or `crate`"
        );
        assert_eq!(refusal(Attribute::Test, quote!(procs = 2, procs = 3)), "`procs` is given twice");
        assert_eq!(refusal(Attribute::Main, quote!(crate = a, crate = b)), "`crate` is given twice");
        assert_eq!(refusal(Attribute::Main, quote!(flavor = "x")), "unknown argument: expected `crate`");
        assert!(refusal(Attribute::Main, quote!(procs = 2)).contains("gort::runtime::Builder"));
        Args::parse(Attribute::Test, quote!(procs = 2 crate = a)).unwrap_err();
        Args::parse(Attribute::Test, quote!(2)).unwrap_err();
    }
}
