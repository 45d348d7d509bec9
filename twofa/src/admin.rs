//! Reports for administrators, from plain data.
