//! x86 beyond what cases in a file can say: EPT, what fences and control writes drop, memory types, shadow stacks.

mod control;
mod ept;
mod garbage;
mod invalidation;
mod masking;
mod memory_types;
mod shadow_stacks;
mod support;
mod tables;
