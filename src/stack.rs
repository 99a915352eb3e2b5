//! The layers in the right order.

use tower_layer::Layer;

use crate::{
    catalog::Catalog,
    fallback::{Fallback, FallbackLayer},
    health::HealthMap,
    images::{ImageLayer, Images},
    normalise::{Normalise, layer::NormaliseLayer},
    route::{FreeModelRoute, FreeModelRouteLayer},
};

/// [`NormaliseLayer`] around [`FallbackLayer`] around [`FreeModelRouteLayer`] around [`ImageLayer`], each with its
/// defaults.
///
/// See the [crate docs](crate) for a complete example.
#[must_use]
pub fn stack(catalog: Catalog, health: HealthMap) -> Stack {
    Stack {
        fallback: FallbackLayer::new(),
        route: FreeModelRouteLayer::new(catalog, health).image_layer(true),
        images: ImageLayer::new(),
    }
}

/// The layers, in the right order. Made by [`stack()`].
#[derive(Clone, Debug)]
pub struct Stack {
    fallback: FallbackLayer,
    route: FreeModelRouteLayer,
    images: ImageLayer,
}

impl Stack {
    /// Changes the settings of the fallback.
    #[must_use]
    pub fn fallback(self, change: impl FnOnce(FallbackLayer) -> FallbackLayer) -> Self {
        Self {
            fallback: change(self.fallback),
            ..self
        }
    }

    /// Changes the settings of the router.
    #[must_use]
    pub fn route(self, change: impl FnOnce(FreeModelRouteLayer) -> FreeModelRouteLayer) -> Self {
        Self {
            route: change(self.route),
            ..self
        }
    }

    /// Changes the settings of the layer that translates requests for images.
    #[must_use]
    pub fn images(self, change: impl FnOnce(ImageLayer) -> ImageLayer) -> Self {
        Self {
            images: change(self.images),
            ..self
        }
    }
}

impl<S> Layer<S> for Stack {
    type Service = Normalise<Fallback<FreeModelRoute<Images<S>>>>;

    fn layer(&self, inner: S) -> Self::Service {
        let routed = self.route.layer(self.images.layer(inner));
        NormaliseLayer::new().layer(self.fallback.layer(routed))
    }
}
