package server

import (
	"context"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// crowd is people at a room, and what became of them, in the order in which it did.
type crowd struct {
	*room
	mu      sync.Mutex // the race detector knows nothing of a clock that orders them
	served  []int
	refused []int
}

func newCrowd() *crowd { return &crowd{room: newRoom(prometheus.NewRegistry())} }

// come has somebody come, and waits until they are inside or wait.
func (c *crowd) come(ctx context.Context, who int, as class) {
	go func() {
		inside := c.enter(ctx, as)
		c.mu.Lock()
		defer c.mu.Unlock()
		if inside {
			c.served = append(c.served, who)
		} else {
			c.refused = append(c.refused, who)
		}
	}()
	synctest.Wait()
}

// goes has one of those inside go.
func (c *crowd) goes() {
	c.leave(0)
	synctest.Wait()
}

// became returns who was served and who was refused.
func (c *crowd) became() (served, refused []int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.served), slices.Clone(c.refused)
}

// forget forgets who was served.
func (c *crowd) forget() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.served = nil
}

// fill has strangers come until the next would wait.
func (c *crowd) fill() {
	for c.waits() == 0 {
		c.come(context.Background(), -1, public)
	}
	c.goes() // who waited is inside, and nobody waits
	c.forget()
}

func TestWhoFindsNoPlaceWaitsForOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCrowd()
		c.fill()
		for who := range 10 {
			c.come(t.Context(), who, public)
		}
		gone, leave := context.WithCancel(t.Context())
		c.come(gone, 10, public)
		c.come(t.Context(), 11, public)
		leave()
		synctest.Wait()
		if served, refused := c.became(); len(served) != 0 || !slices.Equal(refused, []int{10}) {
			t.Fatalf("without a place %v are served, and %v are not", served, refused)
		}
		for range 11 {
			c.goes()
		}
		served, _ := c.became()
		if want := []int{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 11}; !slices.Equal(served, want) {
			t.Errorf("served are %v, want %v", served, want)
		}
		c.come(t.Context(), 12, public)
		time.Sleep(longestWait/2 - time.Millisecond) // of a clock for which nobody waits
		synctest.Wait()
		if _, refused := c.became(); len(refused) != 1 {
			t.Errorf("before it is time %v are sent away", refused)
		}
		time.Sleep(longestWait + time.Millisecond)
		synctest.Wait()
		if _, refused := c.became(); !slices.Equal(refused, []int{10, 12}) {
			t.Errorf("who finds no place in time is not sent away: %v", refused)
		}
		if c.waits() != 0 {
			t.Errorf("%d wait who were sent away", c.waits())
		}
	})
}

func TestWhoSentASessionIsServedFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCrowd()
		c.fill()
		c.come(t.Context(), 1, public)
		c.come(t.Context(), 2, personal)
		for c.waits() > 0 {
			c.goes()
		}
		if served, _ := c.became(); !slices.Equal(served, []int{2, 1}) {
			t.Errorf("served are %v", served)
		}
	})
}

// Who come all at once, and are all served, are served in the order in which they came.
func TestACrowdOfAMomentIsServedInOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCrowd()
		c.fill()
		var came []int
		for who := range 100 {
			c.come(t.Context(), who, public)
			came = append(came, who)
		}
		for c.waits() > 0 {
			c.goes()
		}
		if served, refused := c.became(); !slices.Equal(served, came) || len(refused) > 0 {
			t.Errorf("served are %v, sent away %v", served, refused)
		}
	})
}

// Under a load beyond what can be served, whoever is served has not waited long: the
// others wait for nothing, and are as many as there is a bound for.
func TestWhoCameLastIsServedWhenTooManyCome(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCrowd()
		c.fill()
		const many = mostWaiting - 1
		for who := range many {
			c.come(t.Context(), who, public)
		}
		for range standingServed {
			c.goes()
		}
		time.Sleep(standing)
		for who := range standingServed + 2 {
			c.come(t.Context(), many+who, public)
		}
		// The one that has waited longest made room for the last.
		if _, refused := c.became(); !slices.Equal(refused, []int{standingServed}) {
			t.Errorf("of %d who wait already these are sent away: %v", mostWaiting, refused)
		}
		c.forget()
		c.goes()
		c.goes()
		if served, _ := c.became(); !slices.Equal(served, []int{many + standingServed + 1, many + standingServed}) {
			t.Errorf("served are %v, and not the last who came", served)
		}
		time.Sleep(briefWait * 3 / 2)
		synctest.Wait()
		_, refused := c.became()
		for who := range standingServed {
			if !slices.Contains(refused, many+who) {
				t.Errorf("who comes when too many do still waits after %s", briefWait*3/2)
			}
		}
		for c.waits() > 0 {
			c.goes()
		}
		c.come(t.Context(), -1, public)
		c.come(t.Context(), -2, public)
		c.forget()
		c.goes()
		if served, _ := c.became(); !slices.Equal(served, []int{-1}) {
			t.Errorf("when nobody has waited any more, %v is served and not who came first", served)
		}
		for c.waits() > 0 {
			c.goes()
		}
	})
}

// When nobody is served at all, because what all wait for is replaced, nobody is sent away
// before their time: that is no overload.
func TestWhoComesWhenNobodyIsServedWaitsAsLong(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCrowd()
		c.fill()
		c.come(t.Context(), -1, public)
		time.Sleep(standing)
		var came []int
		for who := range 20 {
			c.come(t.Context(), who, public)
			came = append(came, who)
		}
		time.Sleep(longestWait/2 - time.Millisecond)
		synctest.Wait()
		for c.waits() > 0 {
			c.goes()
		}
		if served, _ := c.became(); !slices.Equal(served[max(0, len(served)-len(came)):], came) {
			t.Errorf("of %v who came these were served: %v", came, served)
		}
	})
}
