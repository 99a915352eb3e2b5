//! The bounds of a router that stands alone.

use std::{
    convert::Infallible,
    sync::{Arc, Mutex},
};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use tower::{Layer, ServiceExt, service_fn};

use super::FreeModelRouteLayer;
use crate::{Body, Catalog, FreeRule, HealthMap, Model, Provider, request::Bounds};

const CHAT: &str = r#"{"messages": [{"role": "user", "content": "hi"}]}"#;

#[tokio::test]
async fn a_body_is_counted_over_all_clones_of_the_layer_until_the_upstream_drops_it() {
    let provider = Provider::new("a").free(FreeRule::All).build().unwrap();
    let catalog = Catalog::from_targets([provider.target(Model::new("m")).unwrap()]);
    let bounds = Bounds::default().max_in_flight(CHAT.len() as u64);
    let layer = FreeModelRouteLayer::new(catalog, HealthMap::seeded(7))
        .with(|router| router.bounds = bounds);
    let kept = Arc::<Mutex<Vec<Request<Body>>>>::default();
    let upstream = service_fn({
        let kept = Arc::clone(&kept);
        move |request| {
            kept.lock().unwrap().push(request);
            async { Ok::<_, Infallible>(Response::new(Full::<Bytes>::default())) }
        }
    });
    let send = async || {
        let request = Request::post("/v1/chat/completions").body(Full::from(CHAT));
        let service = layer.clone().layer(upstream.clone());
        let Ok(response) = service.oneshot(request.unwrap()).await;
        response.status().as_u16()
    };
    assert_eq!([send().await, send().await], [200, 503]);
    kept.lock().unwrap().clear();
    assert_eq!(send().await, 200);
}
