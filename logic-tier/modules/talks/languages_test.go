package talks

import (
	"context"
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

func TestLanguageCacheReloadsAfterExpiry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var c languageCache
		loads := 0
		var loadErr error
		get := func() []string {
			list, err := c.get(t.Context(), func(context.Context) ([]string, error) {
				loads++
				return []string{"deu", "eng"}[:loads], loadErr
			})
			if !errors.Is(err, loadErr) {
				t.Errorf("got %v, want %v", err, loadErr)
			}
			return list
		}
		if got := get(); !slices.Equal(got, []string{"deu"}) {
			t.Errorf("first: got %v, want [deu]", got)
		}
		time.Sleep(languagesTTL - time.Nanosecond)
		if got := get(); !slices.Equal(got, []string{"deu"}) || loads != 1 {
			t.Errorf("before expiry: got %v after %d loads, want [deu] after 1", got, loads)
		}
		time.Sleep(time.Nanosecond)
		if got := get(); !slices.Equal(got, []string{"deu", "eng"}) {
			t.Errorf("after expiry: got %v, want [deu eng]", got)
		}
		time.Sleep(languagesTTL)
		loads, loadErr = 0, errors.New("no database")
		get()
		loadErr = nil
		if got := get(); !slices.Equal(got, []string{"deu", "eng"}) {
			t.Errorf("after a failed load: got %v, want [deu eng]", got)
		}
	})
}

// While one caller reloads, which can take long, the others get the stale list.
func TestLanguageCacheServesStaleListDuringReload(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var c languageCache
		list := func(language string) func(context.Context) ([]string, error) {
			return func(context.Context) ([]string, error) { return []string{language}, nil }
		}
		if _, err := c.get(t.Context(), list("deu")); err != nil {
			t.Fatal(err)
		}
		time.Sleep(languagesTTL)
		unblock := make(chan struct{})
		go func() {
			_, _ = c.get(t.Context(), func(context.Context) ([]string, error) {
				<-unblock
				return []string{"eng"}, nil
			})
		}()
		synctest.Wait()
		if got, err := c.get(t.Context(), list("none")); err != nil || !slices.Equal(got, []string{"deu"}) {
			t.Errorf("during the reload: got %v, %v; want [deu]", got, err)
		}
		close(unblock)
		synctest.Wait()
		if got, err := c.get(t.Context(), list("none")); err != nil || !slices.Equal(got, []string{"eng"}) {
			t.Errorf("after the reload: got %v, %v; want [eng]", got, err)
		}
	})
}
