use super::super::{Local, Method, Rpc, find, local, refusal};
use super::{message, numbers, texts, values};
use crate::auth::record::Key;
use crate::errors::Kind;
use crate::grpc::wire::put_text;
use crate::snapshot::Snapshot;
use crate::snapshot::testing::snapshot;

/// Groups `m` (chat, with a price, also called `nick`), `vec` (embeddings) and `secret` (hidden, listed as `open`).
fn models() -> Snapshot {
    let price = r#""price":{"version":"v","tiers":[{"input":3000000000,"output":15000000000,"cache_read":300000000}]}"#;
    let group = |name: &str, deployment: usize, hidden: bool| {
        format!(
            r#"{{"name":"{name}","deployments":[{deployment}],"access_groups":[],"fallbacks":[],"hidden":{hidden},
            "created":1700000000,"owned_by":"p"}}"#
        )
    };
    let groups = [group("m", 0, false), group("vec", 1, false), group("secret", 2, true)].join(",");
    let json = snapshot(&[(0, 1), (0, 1), (0, 1)]);
    let (deployments, rest) = json.split_once(r#""groups":["#).unwrap();
    let (_, settings) = rest.split_once(r#""settings""#).unwrap();
    let deployments = deployments.replacen(r#""price":null"#, price, 1);
    let at = deployments.match_indices(r#""mode":"chat""#).nth(1).unwrap().0;
    let (before, after) = deployments.split_at(at);
    let deployments = format!("{before}{}", after.replacen("chat", "embedding", 1));
    let aliases = r#""aliases":{"nick":"m","open":"secret"},"settings""#;
    Snapshot::compile(format!(r#"{deployments}"groups":[{groups}],{aliases}{settings}"#).as_bytes(), None).unwrap()
}

fn key(fields: &str) -> Key {
    let record = format!(r#"{{"token":"{}"{fields}}}"#, "5a".repeat(32));
    Key::compile(serde_json::from_str(&record).unwrap(), None).unwrap()
}

fn named(name: &str) -> Vec<u8> {
    message(|out| put_text(out, 1, name))
}

#[test]
fn language_models_have_names_and_prices() {
    let out = local(Local::ListLanguageModels, &models(), None, b"").unwrap();
    assert_eq!(texts(&out, &[1, 1]), ["m", "open"]);
    assert_eq!(texts(&out, &[1, 11]), ["nick"]);
    // 3, 15 and 0.30 dollars per million tokens.
    assert_eq!([5, 7, 12].map(|price| numbers(&out, &[1, price])), [[30_000], [150_000], [3_000]]);
    assert_eq!(numbers(&out, &[1, 8, 1]), [1_700_000_000, 1_700_000_000]);
    assert_eq!(values(&out, &[1, 3])[0].bytes(), Some(&[1][..]));
    let limited = key(r#","models":["secret"]"#);
    assert_eq!(texts(&local(Local::ListLanguageModels, &models(), Some(&limited), b"").unwrap(), &[1, 1]), ["open"]);
}

#[test]
fn embedding_models_are_told_apart() {
    let out = local(Local::ListEmbeddingModels, &models(), None, b"").unwrap();
    assert_eq!(texts(&out, &[1, 1]), ["vec"]);
    assert_eq!(values(&out, &[1, 4])[0].bytes(), Some(&[3][..]));
    assert_eq!(numbers(&out, &[1, 7, 1]), [1_700_000_000]);
    assert!(local(Local::ListImageGenerationModels, &models(), None, b"").unwrap().is_empty());
    let get = |method, name: &str| local(method, &models(), None, &named(name)).map_err(|failure| failure.kind);
    assert_eq!(texts(&get(Local::GetEmbeddingModel, "vec").unwrap(), &[1]), ["vec"]);
    assert_eq!(get(Local::GetEmbeddingModel, "m"), Err(Kind::ModelUnknown));
    assert_eq!(get(Local::GetImageGenerationModel, "m"), Err(Kind::ModelUnknown));
}

#[test]
fn one_model_is_found_by_any_of_its_names() {
    let get = |key: Option<&Key>, name: &str| local(Local::GetLanguageModel, &models(), key, &named(name));
    let out = get(None, "nick").unwrap();
    assert_eq!((texts(&out, &[1]), numbers(&out, &[5])), (vec!["nick"], vec![30_000]));
    let failure = get(Some(&key(r#","models":["vec"]"#)), "m").unwrap_err();
    assert_eq!((failure.kind, failure.param.as_deref()), (Kind::ModelUnknown, Some("name")));
}

#[test]
fn a_text_is_taken_apart_into_its_tokens() {
    let request = |text: &str, model: &str| {
        message(|out| {
            put_text(out, 1, text);
            put_text(out, 2, model);
        })
    };
    let tokens =
        |key: Option<&Key>, text: &str, model: &str| local(Local::TokenizeText, &models(), key, &request(text, model));
    let out = tokens(None, "antidisestablishmentarianism", "m").unwrap();
    assert_eq!(numbers(&out, &[1, 1]), [493, 129_901, 376, 160_388, 21_203, 2_367]);
    assert_eq!(texts(&out, &[1, 2]).concat(), "antidisestablishmentarianism");
    assert_eq!(texts(&out, &[2]), ["m"]);
    let out = tokens(None, "お誕生日", "nick").unwrap();
    let bytes: Vec<u8> = values(&out, &[1, 4]).into_iter().flat_map(|v| v.bytes().unwrap().to_vec()).collect();
    assert_eq!(bytes, "お誕生日".as_bytes());
    assert!(texts(&out, &[1, 2]).iter().any(|text| text.contains('\u{fffd}')), "not every token is whole characters");
    assert!(texts(&tokens(None, "", "m").unwrap(), &[1, 2]).is_empty());

    let kind = |key, model| tokens(key, "a", model).unwrap_err().kind;
    assert_eq!(kind(None, "none"), Kind::ModelUnknown);
    let limited = key(r#","models":["vec"],"aliases":{"mine":"vec"}"#);
    assert_eq!(kind(Some(&limited), "m"), Kind::ModelDenied);
    assert_eq!(kind(Some(&limited), "none"), Kind::ModelDenied);
    assert!(tokens(Some(&limited), "a", "mine").is_ok());
}

#[test]
fn the_tokens_of_a_long_text_are_bounded() {
    let text = "\u{10ffff}".repeat(1 << 20);
    let request = message(|out| {
        put_text(out, 1, &text);
        put_text(out, 2, "m");
    });
    let failure = local(Local::TokenizeText, &models(), None, &request).unwrap_err();
    assert_eq!((failure.kind, failure.param.as_deref()), (Kind::BodyTooLarge, Some("text")));
}

#[test]
fn a_key_is_told_of_itself_but_not_its_secret() {
    let info = |key: Option<&Key>| local(Local::ApiKeyInfo, &models(), key, b"").unwrap();
    let limited = key(r#","alias":"mine","user_id":"u","team_id":"t","models":["m","open*"],"allowed_routes":["/v1"]"#);
    let out = info(Some(&limited));
    assert_eq!([1, 3, 4, 6].map(|field| texts(&out, &[field])), [["sk-..."], ["u"], ["mine"], ["t"]]);
    assert_eq!(texts(&out, &[7]), ["api-key:model:m", "api-key:model:open*", "api-key:endpoint:/v1"]);
    assert_eq!(texts(&out, &[8]), ["5a".repeat(32)]);
    assert_eq!(texts(&info(None), &[7]), ["api-key:model:*", "api-key:endpoint:*"]);
}

#[test]
fn paths_lead_where_they_should() {
    assert_eq!(find("/xai_api.Chat/GetCompletionChunk"), Some(Rpc::Call(Method::CompletionChunk)));
    assert_eq!(find("/xai_api.Auth/get_api_key_info"), Some(Rpc::Local(Local::ApiKeyInfo)));
    assert_eq!(find("/penstock.v1.Chat/Create"), None);
    for path in ["Chat/StartDeferredCompletion", "Chat/CompactContext", "Image/GenerateImage", "Chat/getcompletion"] {
        let Some(Rpc::Refused(why)) = find(&format!("/xai_api.{path}")) else { panic!("{path}") };
        assert_eq!(refusal(why).kind, Kind::RouteUnsupported);
    }
}
