//! What an attributed function becomes.
//!
//! ```text
//! #[gort::main]                 fn main() -> T {
//! fn main() -> T { body }           ::gort::run(move || -> T { body })
//!                               }
//!
//! #[gort::test(procs = N)]      #[test]
//! fn name() -> T { body }       fn name() -> T {
//!                                   ::gort::__private::test(Some(N), move || -> T { body })
//!                               }
//! ```
//!
//! The functions here take and give `proc_macro2` streams, so that the tests beside can call them.
#![forbid(unsafe_code)]

use proc_macro2::{Span, TokenStream};
use quote::{ToTokens, quote};
use syn::{AttrStyle, Error, ItemFn, Result, ReturnType, Signature, Type};

use crate::args::{Args, Attribute};

/// `#[gort::main]`.
pub(crate) fn main(arguments: TokenStream, item: TokenStream) -> TokenStream {
    try_main(arguments, item).unwrap_or_else(|error| {
        let error = error.into_compile_error();
        // Without a `main` the compiler would complain of that as well.
        quote!(#error fn main() {})
    })
}

fn try_main(arguments: TokenStream, item: TokenStream) -> Result<TokenStream> {
    let (args, function) = parse(Attribute::Main, arguments, item)?;
    let (krate, closure) = (&args.krate, closure(&function));
    Ok(replace_body(function, quote!(#krate::run(#closure))))
}

/// `#[gort::test]`.
pub(crate) fn test(arguments: TokenStream, item: TokenStream) -> TokenStream {
    try_test(arguments, item).unwrap_or_else(Error::into_compile_error)
}

fn try_test(arguments: TokenStream, item: TokenStream) -> Result<TokenStream> {
    let (args, function) = parse(Attribute::Test, arguments, item)?;
    let (krate, closure) = (&args.krate, closure(&function));
    let procs = match args.procs {
        Some(procs) => quote!(::core::option::Option::Some(#procs)),
        None => quote!(::core::option::Option::None),
    };
    let function = replace_body(function, quote!(#krate::__private::test(#procs, #closure)));
    // By its full path: `#[test]` may be something else where the attribute stands.
    Ok(quote!(#[::core::prelude::v1::test] #function))
}

/// Parses both parts of an attributed function and reports all that is wrong with them.
fn parse(attribute: Attribute, arguments: TokenStream, item: TokenStream) -> Result<(Args, ItemFn)> {
    let args = Args::parse(attribute, arguments);
    let function = parse_function(attribute, item);
    match (args, function) {
        (Ok(args), Ok(function)) => Ok((args, function)),
        (Err(mut error), Err(other)) => {
            error.combine(other);
            Err(error)
        }
        (Err(error), Ok(_)) | (Ok(_), Err(error)) => Err(error),
    }
}

fn parse_function(attribute: Attribute, item: TokenStream) -> Result<ItemFn> {
    let name = match attribute {
        Attribute::Main => "`#[gort::main]` belongs on `fn main`",
        Attribute::Test => "`#[gort::test]` belongs on a function",
    };
    // Of what is no function, the first token is the place; of a function that does not parse, syn knows
    // better.
    let is_function = item.clone().into_iter().any(|token| token.to_string() == "fn");
    let function: ItemFn = match syn::parse2(item.clone()) {
        Ok(function) => function,
        Err(error) if is_function => return Err(error),
        Err(_) => {
            let place = item.into_iter().next().map_or_else(Span::call_site, |token| token.span());
            return Err(Error::new(place, name));
        }
    };

    let mut faults = signature_faults(&function.sig);
    if attribute == Attribute::Main && function.sig.ident != "main" {
        faults.push(Error::new_spanned(&function.sig.ident, name));
    }
    if attribute == Attribute::Test {
        faults.extend(function.attrs.iter().filter(|other| other.path().is_ident("test")).map(|other| {
            Error::new_spanned(other, "`#[gort::test]` writes `#[test]` itself: remove this one")
        }));
    }
    let all = faults.into_iter().reduce(|mut all, fault| {
        all.combine(fault);
        all
    });
    all.map_or(Ok(function), Err)
}

/// Everything that keeps a function from being a plain `fn name() -> T`.
fn signature_faults(signature: &Signature) -> Vec<Error> {
    let mut faults = Vec::new();
    let mut fault =
        |part: &dyn ToTokens, message: &str| faults.push(Error::new_spanned(part.to_token_stream(), message));
    if let Some(part) = &signature.asyncness {
        fault(part, "remove `async`: in a goroutine every call may block, and blocks only the goroutine");
    }
    if let Some(part) = &signature.constness {
        fault(part, "remove `const`: what runs in a goroutine is not evaluated by the compiler");
    }
    if let Some(part) = &signature.unsafety {
        fault(part, "remove `unsafe`: nobody stands ready to keep its promise");
    }
    if let Some(part) = &signature.abi {
        fault(part, "remove `extern`: the function is called from Rust");
    }
    if !signature.generics.params.is_empty() {
        fault(&signature.generics, "remove the generics: nobody says what they stand for");
    }
    if let Some(part) = &signature.generics.where_clause {
        fault(part, "remove the `where` clause: there are no generics");
    }
    if !signature.inputs.is_empty() {
        fault(&signature.inputs, "remove the arguments: nobody passes them");
    }
    if let Some(part) = &signature.variadic {
        fault(part, "remove the arguments: nobody passes them");
    }
    faults
}

/// The body as a closure that returns what the function returns.
fn closure(function: &ItemFn) -> TokenStream {
    let (output, body) = (&function.sig.output, &function.block);
    match output {
        // A closure's return type cannot be written so: it has to be inferred.
        ReturnType::Type(_, output) if matches!(**output, Type::ImplTrait(_)) => quote!(move || #body),
        _ => quote!(move || #output #body),
    }
}

/// The function with its attributes, visibility and signature, and another body.
fn replace_body(mut function: ItemFn, body: TokenStream) -> TokenStream {
    for attribute in &mut function.attrs {
        // `#![allow(..)]` at the head of the body means the function.
        attribute.style = AttrStyle::Outer;
    }
    let ItemFn { attrs, vis, sig, .. } = function;
    quote!(#(#attrs)* #vis #sig { #body })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Compares streams by their tokens.
    fn assert_tokens(found: TokenStream, expected: TokenStream) {
        assert_eq!(found.to_string(), expected.to_string());
    }

    /// The messages of the errors in an expansion.
    fn messages(expansion: TokenStream) -> Vec<String> {
        let text = expansion.to_string();
        text.split("compile_error ! { \"")
            .skip(1)
            .map(|rest| rest.split("\" }").next().unwrap().into())
            .collect()
    }

    #[test]
    fn main_runs_its_body() {
        assert_tokens(
            main(
                quote!(),
                quote!(
                    fn main() {
                        body();
                    }
                ),
            ),
            quote!(
                fn main() {
                    ::gort::run(move || {
                        body();
                    })
                }
            ),
        );
    }

    #[test]
    fn main_keeps_its_return_type_attributes_docs_and_visibility() {
        assert_tokens(
            main(
                quote!(crate = my::gort),
                quote! {
                    /// Docs.
                    #[allow(dead_code)]
                    pub fn main() -> Result<(), Error> { #![allow(unused)] body()?; Ok(()) }
                },
            ),
            quote! {
                /// Docs.
                #[allow(dead_code)]
                #[allow(unused)]
                pub fn main() -> Result<(), Error> {
                    my::gort::run(move || -> Result<(), Error> { body()?; Ok(()) })
                }
            },
        );
    }

    #[test]
    fn an_impl_return_type_is_left_to_inference() {
        let text = main(
            quote!(),
            quote!(
                fn main() -> impl Termination {
                    body();
                    0
                }
            ),
        )
        .to_string();
        assert!(text.contains("run (move || { body () ; 0 })"), "{text}");
    }

    #[test]
    fn test_is_a_test_with_a_runtime_of_its_own() {
        assert_tokens(
            test(
                quote!(),
                quote!(
                    fn name() {
                        body();
                    }
                ),
            ),
            quote! {
                #[::core::prelude::v1::test]
                fn name() {
                    ::gort::__private::test(::core::option::Option::None, move || { body(); })
                }
            },
        );
    }

    #[test]
    fn test_takes_procs_and_keeps_attributes() {
        assert_tokens(
            test(
                quote!(procs = 2, crate = gort_runtime),
                quote!(
                    #[should_panic(expected = "x")]
                    #[ignore]
                    fn name() -> R {
                        body()
                    }
                ),
            ),
            quote! {
                #[::core::prelude::v1::test]
                #[should_panic(expected = "x")]
                #[ignore]
                fn name() -> R {
                    gort_runtime::__private::test(
                        ::core::option::Option::Some(2usize),
                        move || -> R { body() }
                    )
                }
            },
        );
    }

    #[test]
    fn main_belongs_on_main() {
        assert_eq!(
            messages(main(
                quote!(),
                quote!(
                    fn start() {}
                )
            )),
            ["`#[gort::main]` belongs on `fn main`"]
        );
        assert_eq!(
            messages(main(
                quote!(),
                quote!(
                    struct S;
                )
            )),
            ["`#[gort::main]` belongs on `fn main`"]
        );
        assert_eq!(
            messages(test(
                quote!(),
                quote!(
                    mod m {}
                )
            )),
            ["`#[gort::test]` belongs on a function"]
        );
        assert_eq!(messages(test(quote!(), quote!())), ["`#[gort::test]` belongs on a function"]);
    }

    #[test]
    fn a_failed_main_leaves_a_main_behind() {
        let text = main(
            quote!(),
            quote!(
                async fn main() {}
            ),
        )
        .to_string();
        assert!(text.ends_with("fn main () { }"), "{text}");
    }

    #[test]
    fn only_a_plain_function_will_do() {
        for (text, word) in [
            ("async fn main() {}", "async"),
            ("const fn main() {}", "const"),
            ("unsafe fn main() {}", "unsafe"),
            ("extern \"C\" fn main() {}", "extern"),
            ("fn main<T>() {}", "generics"),
            ("fn main() where u8: Copy {}", "where"),
            ("fn main(argument: u8) {}", "arguments"),
            ("fn main(self) {}", "arguments"),
        ] {
            let function: TokenStream = text.parse().unwrap();
            for expansion in [main(quote!(), function.clone()), test(quote!(), function.clone())] {
                let messages = messages(expansion);
                assert_eq!(messages.len(), 1, "{text}: {messages:?}");
                assert!(messages[0].contains(word), "{text}: {messages:?}");
            }
        }
    }

    #[test]
    fn everything_that_is_wrong_is_reported_at_once() {
        let messages = messages(test(
            quote!(procs = 0),
            quote!(
                #[test]
                async fn name(argument: u8) {}
            ),
        ));
        assert_eq!(messages.len(), 4, "{messages:?}");
    }

    #[test]
    fn a_second_test_attribute_is_an_error() {
        let messages = messages(test(
            quote!(),
            quote!(
                #[test]
                fn name() {}
            ),
        ));
        assert_eq!(messages, ["`#[gort::test]` writes `#[test]` itself: remove this one"]);
    }

    #[test]
    fn a_function_without_a_body_is_reported_by_syn() {
        assert_eq!(
            messages(test(
                quote!(),
                quote!(
                    fn name();
                )
            ))
            .len(),
            1
        );
    }
}
