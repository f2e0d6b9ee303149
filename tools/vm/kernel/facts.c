/*
 * Where the kernel's memory says which pages are free: compiled in the kernel's
 * tree, after its configuration, for facts.py, which reads the assembly.
 *
 * A free page is the first of 2^order free ones where its page_type says so; no
 * other page of those need be looked at.
 */
#include <linux/kbuild.h>
#include <linux/mm.h>
#include <linux/mmzone.h>

int main(void)
{
	DEFINE(page_struct_size, sizeof(struct page));
	DEFINE(page_type_offset, offsetof(struct page, page_type));
	DEFINE(page_order_offset, offsetof(struct page, private));
	/* PageBuddy() */
#ifdef PAGE_TYPE_BASE /* until Linux 6.10 */
	DEFINE(free_mask, PAGE_TYPE_BASE | PG_buddy);
	DEFINE(free_value, PAGE_TYPE_BASE);
#else
	DEFINE(free_mask, 0xff000000);
	DEFINE(free_value, PGTY_buddy << 24);
#endif
	DEFINE(word_size, sizeof(long));
	DEFINE(free_count_offset, NR_FREE_PAGES * sizeof(long));
	DEFINE(kernel_map, __START_KERNEL_map);
#ifdef CONFIG_SPARSEMEM_VMEMMAP
	DEFINE(page_structs, VMEMMAP_START);
#endif
	return 0;
}
