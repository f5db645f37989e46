//! The null WASI: a component that was compiled against a standard library finds the interfaces it imports, and all of
//! them answer that there is nothing there.
//!
//! No file, socket, environment, argument or clock reading enters a component this way. Answers are built from the type
//! of each imported function, so every 0.2.x release of every interface is served alike: numbers are 0, lists and texts
//! are empty, options are absent, results are errors. The exceptions are listed in [`answer`]: output is accepted (and
//! logged), waiting ends at once, random bytes are zeros, and `exit` ends the call. Everything is constant, so a policy
//! stays pure whatever its language's runtime asks for.

use wasmtime::StoreContextMut;
use wasmtime::component::types::{ComponentFunc, ComponentItem, Type};
use wasmtime::component::{LinkerInstance, Resource, ResourceType, Val};
use wasmtime::{Engine, Result, bail};

use crate::state::State;

/// Packages whose 0.2 releases are served.
const PACKAGES: [&str; 7] = [
    "wasi:cli/",
    "wasi:clocks/",
    "wasi:filesystem/",
    "wasi:http/",
    "wasi:io/",
    "wasi:random/",
    "wasi:sockets/",
];
/// Stands behind every resource that is handed out.
struct Nothing;
/// What an output stream takes at once.
const WRITE_BYTES_MAX: u64 = 4096;
/// Most zeros handed out as randomness in one call.
const RANDOM_BYTES_MAX: u64 = 64 << 10;

/// Whether `import` is an interface that is served here.
pub(crate) fn serves(import: &str) -> bool {
    let versioned = import.split_once('@').is_some_and(|(_, version)| version.starts_with("0.2."));
    versioned && PACKAGES.iter().any(|package| import.starts_with(package))
}

/// Defines one item of an interface, whatever its type.
pub(crate) fn define(
    linker: &mut LinkerInstance<'_, State>,
    engine: &Engine,
    interface: &str,
    name: &str,
    item: &ComponentItem,
) -> Result<()> {
    match item {
        ComponentItem::ComponentFunc(_) => {
            let interface = interface.split('@').next().unwrap_or(interface).to_owned();
            let function = name.to_owned();
            linker.func_new(name, move |mut store, ty, params, results| {
                let answer = answer(&mut store, &interface, &function, &ty, params);
                release(&mut store, params)?;
                if let (Some(slot), Some(value)) = (results.first_mut(), answer?) {
                    *slot = value;
                }
                Ok(())
            })
        }
        ComponentItem::Resource(_) => linker.resource(name, ResourceType::host::<Nothing>(), |_, _| Ok(())),
        ComponentItem::ComponentInstance(instance) => {
            let mut nested = linker.instance(name)?;
            for (name, item) in instance.exports(engine) {
                define(&mut nested, engine, interface, name, &item.ty)?;
            }
            Ok(())
        }
        _ => Ok(()),
    }
}

/// What a function answers; `None` when it returns nothing.
fn answer(
    store: &mut StoreContextMut<'_, State>,
    interface: &str,
    function: &str,
    ty: &ComponentFunc,
    params: &[Val],
) -> Result<Option<Val>> {
    let done = || Some(Val::Result(Ok(None)));
    Ok(match (interface, function) {
        ("wasi:cli/exit", _) => bail!("the component exited"),
        ("wasi:io/streams", "[method]output-stream.check-write") => {
            Some(Val::Result(Ok(Some(Box::new(Val::U64(WRITE_BYTES_MAX))))))
        }
        (
            "wasi:io/streams",
            "[method]output-stream.write" | "[method]output-stream.blocking-write-and-flush",
        ) => {
            write(store, params);
            done()
        }
        ("wasi:io/streams", "[method]output-stream.flush" | "[method]output-stream.blocking-flush") => done(),
        ("wasi:io/poll", "poll") => Some(Val::List(vec![Val::U32(0)])),
        ("wasi:io/poll", "[method]pollable.ready") => Some(Val::Bool(true)),
        ("wasi:random/random" | "wasi:random/insecure", _) => match params {
            [Val::U64(length)] if *length > RANDOM_BYTES_MAX => bail!("it asked for {length} random bytes"),
            [Val::U64(length)] => Some(Val::List((0..*length).map(|_| Val::U8(0)).collect())),
            _ => Some(Val::U64(0)),
        },
        _ => ty.results().next().map(|ty| null(store, &ty)).transpose()?,
    })
}

/// Sends what was written to an output stream to the log: standard output and error are the only streams there are.
fn write(store: &mut StoreContextMut<'_, State>, params: &[Val]) {
    if let [_, Val::List(bytes)] = params {
        let byte = |value: &Val| if let Val::U8(byte) = value { *byte } else { b'?' };
        let bytes: Vec<u8> = bytes.iter().map(byte).collect();
        store.data_mut().write_stderr(&bytes);
    }
}

/// The emptiest value of a type.
fn null(store: &mut StoreContextMut<'_, State>, ty: &Type) -> Result<Val> {
    Ok(match ty {
        Type::Bool => Val::Bool(false),
        Type::S8 => Val::S8(0),
        Type::U8 => Val::U8(0),
        Type::S16 => Val::S16(0),
        Type::U16 => Val::U16(0),
        Type::S32 => Val::S32(0),
        Type::U32 => Val::U32(0),
        Type::S64 => Val::S64(0),
        Type::U64 => Val::U64(0),
        Type::Float32 => Val::Float32(0.0),
        Type::Float64 => Val::Float64(0.0),
        Type::Char => Val::Char('\0'),
        Type::String => Val::String(String::new()),
        Type::List(_) => Val::List(Vec::new()),
        Type::Option(_) => Val::Option(None),
        Type::Flags(_) => Val::Flags(Vec::new()),
        Type::Enum(ty) => Val::Enum(ty.names().next().unwrap_or_default().to_owned()),
        Type::Own(_) => Val::Resource(Resource::<Nothing>::new_own(0).try_into_resource_any(store)?),
        Type::Record(ty) => {
            let field = |field: wasmtime::component::types::Field<'_>| {
                Ok((field.name.to_owned(), null(store, &field.ty)?))
            };
            Val::Record(ty.fields().map(field).collect::<Result<_>>()?)
        }
        Type::Tuple(ty) => Val::Tuple(ty.types().map(|ty| null(store, &ty)).collect::<Result<_>>()?),
        Type::Variant(ty) => {
            // A case without a value where there is one: `closed` rather than `last-operation-failed`.
            let Some(case) = ty.cases().find(|case| case.ty.is_none()).or_else(|| ty.cases().next()) else {
                bail!("a variant without cases")
            };
            let value = case.ty.as_ref().map(|ty| null(store, ty)).transpose()?;
            Val::Variant(case.name.to_owned(), value.map(Box::new))
        }
        Type::Result(ty) => {
            let error = ty.err().map(|ty| null(store, &ty)).transpose()?;
            Val::Result(Err(error.map(Box::new)))
        }
        _ => bail!("a value of this type cannot be made up"),
    })
}

/// Takes the handles among `values` out of the host's table, where borrowing put them.
fn release(store: &mut StoreContextMut<'_, State>, values: &[Val]) -> Result<()> {
    for value in values {
        match value {
            Val::Resource(handle) => {
                handle.try_into_resource::<Nothing>(&mut *store)?;
            }
            Val::List(values) | Val::Tuple(values) => release(store, values)?,
            Val::Record(fields) => {
                for (_, value) in fields {
                    release(store, std::slice::from_ref(value))?;
                }
            }
            Val::Option(Some(value))
            | Val::Variant(_, Some(value))
            | Val::Result(Ok(Some(value)) | Err(Some(value))) => {
                release(store, std::slice::from_ref(value))?;
            }
            _ => {}
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::serves;

    #[test]
    fn only_the_second_wasi_is_served() {
        for import in ["wasi:cli/environment@0.2.6", "wasi:io/streams@0.2.0", "wasi:sockets/tcp@0.2.3"] {
            assert!(serves(import), "{import}");
        }
        let refused =
            ["wasi:cli/environment@0.3.0", "wasi:nn/graph@0.2.0", "wasi:cli/environment", "my:cli/x@0.2.0"];
        for import in refused {
            assert!(!serves(import), "{import}");
        }
    }
}
