//! Users, roles and what they allow, against a model that knows nothing of intervals.
