//! Access to the service inside a middleware, under the names that tower's own middleware has.

/// `get_ref`, `get_mut` and `into_inner`, for a type with a field `inner: S`.
macro_rules! accessors {
    () => {
        /// The inner service.
        pub const fn get_ref(&self) -> &S {
            &self.inner
        }

        /// The inner service, to change it.
        pub const fn get_mut(&mut self) -> &mut S {
            &mut self.inner
        }

        /// Takes the inner service out.
        pub fn into_inner(self) -> S {
            self.inner
        }
    };
}

pub(crate) use accessors;
