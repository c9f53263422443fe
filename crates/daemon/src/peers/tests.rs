//! Nodes that let each other in, and machines that are not let in.
