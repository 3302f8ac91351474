package server

import "sync"

// addresses counts the pages in progress of each client address. It is safe for concurrent
// use.
type addresses struct {
	mu    sync.Mutex
	pages map[string]int
}

// add counts a page of an address and reports whether it exceeds the address's share. The
// empty address is not counted.
func (a *addresses) add(address string) (exceeded bool) {
	if address == "" {
		return false
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.pages[address]++
	return a.pages[address] > addressShare
}

func (a *addresses) remove(address string) {
	if address == "" {
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.pages[address]--; a.pages[address] == 0 {
		delete(a.pages, address)
	}
}
