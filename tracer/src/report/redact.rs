//! Stand-ins for what tells who and where.
