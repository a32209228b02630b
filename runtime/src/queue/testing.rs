//! F4. Items for the queues' tests: links that are the heads of nothing.

use std::ptr::NonNull;
use std::sync::Arc;

use super::item::Item;
use super::list::List;
use crate::util::list::{Kind, Link};

/// Some links, numbered from 0. Clones share them; keep one alive while a queue holds an item.
#[derive(Clone, Debug)]
pub(crate) struct Links(Arc<Vec<Link>>);

impl Links {
    pub(crate) fn new(count: usize) -> Self {
        Links(Arc::new((0..count).map(|_| Link::new(Kind::G)).collect()))
    }

    pub(crate) fn item(&self, index: usize) -> Item {
        // SAFETY: the links live as long as the test that made them keeps a clone of `self`.
        unsafe { Item::new(NonNull::from(&self.0[index])) }
    }

    pub(crate) fn items(&self) -> impl Iterator<Item = Item> + '_ {
        (0..self.0.len()).map(|index| self.item(index))
    }

    /// The number of an item of these.
    pub(crate) fn index(&self, item: Item) -> usize {
        let offset = item.as_ptr().addr().wrapping_sub(self.0.as_ptr().addr());
        let index = offset / size_of::<Link>();
        assert!(index < self.0.len() && offset.is_multiple_of(size_of::<Link>()), "a foreign item");
        index
    }

    pub(crate) fn indexes(&self, list: List) -> Vec<usize> {
        list.map(|item| self.index(item)).collect()
    }
}
