package transform

// userSet is a bitmap in pages of 65536 ids, 8 KiB each. With more than
// maxPages (32 MiB) it only says that there are at least so many users.
type userSet struct {
	pages map[int32]*[1024]uint64
	count int64
	full  bool
}

const maxPages = 4096

func (u *userSet) add(id int32) {
	page := u.pages[id>>16]
	if page == nil {
		if len(u.pages) >= maxPages {
			u.full = true
			return
		}
		if u.pages == nil {
			u.pages = map[int32]*[1024]uint64{}
		}
		page = new([1024]uint64)
		u.pages[id>>16] = page
	}
	word, bit := &page[id>>6&1023], uint64(1)<<(id&63)
	if *word&bit == 0 {
		*word |= bit
		u.count++
	}
}
