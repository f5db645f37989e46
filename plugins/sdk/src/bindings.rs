//! What `wit_bindgen` makes of `wit/`: one module per world, shared interfaces generated once, in the first.

pub mod provider_adapter {
    wit_bindgen::generate!({
        path: "../../wit",
        world: "provider-adapter",
        additional_derives: [PartialEq, Eq],
        generate_unused_types: true,
        pub_export_macro: true,
        export_macro_name: "__export_provider_adapter",
        default_bindings_module: "tollgate_plugin::bindings::provider_adapter",
        runtime_path: "tollgate_plugin::bindings::rt",
    });
}

pub mod key_selector {
    wit_bindgen::generate!({
        path: "../../wit",
        world: "key-selector",
        with: {
            "tollgate:plugin/types@0.2.0": crate::bindings::provider_adapter::tollgate::plugin::types,
            "tollgate:plugin/host@0.2.0": crate::bindings::provider_adapter::tollgate::plugin::host,
        },
        additional_derives: [PartialEq, Eq],
        pub_export_macro: true,
        export_macro_name: "__export_key_selector",
        default_bindings_module: "tollgate_plugin::bindings::key_selector",
        runtime_path: "tollgate_plugin::bindings::rt",
    });
}

pub mod pricing_policy {
    wit_bindgen::generate!({
        path: "../../wit",
        world: "pricing-policy",
        with: {
            "tollgate:plugin/types@0.2.0": crate::bindings::provider_adapter::tollgate::plugin::types,
        },
        additional_derives: [PartialEq, Eq],
        pub_export_macro: true,
        export_macro_name: "__export_pricing_policy",
        default_bindings_module: "tollgate_plugin::bindings::pricing_policy",
        runtime_path: "tollgate_plugin::bindings::rt",
    });
}

pub mod content_filter {
    wit_bindgen::generate!({
        path: "../../wit",
        world: "content-filter",
        with: {
            "tollgate:plugin/host@0.2.0": crate::bindings::provider_adapter::tollgate::plugin::host,
        },
        additional_derives: [PartialEq, Eq],
        pub_export_macro: true,
        export_macro_name: "__export_content_filter",
        default_bindings_module: "tollgate_plugin::bindings::content_filter",
        runtime_path: "tollgate_plugin::bindings::rt",
    });
}

/// Where generated code finds the runtime of `wit_bindgen`.
pub use wit_bindgen::rt;
