package talks

import (
	"context"
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

func TestLanguagesAreReadAnewWhenTheyAreOld(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var l languages
		reads := 0
		var fails error
		get := func() []string {
			list, err := l.get(t.Context(), func(context.Context) ([]string, error) {
				reads++
				return []string{"deu", "eng"}[:reads], fails
			})
			if !errors.Is(err, fails) {
				t.Errorf("got %v, want %v", err, fails)
			}
			return list
		}
		if got := get(); !slices.Equal(got, []string{"deu"}) {
			t.Errorf("first %v", got)
		}
		time.Sleep(languagesAge - time.Nanosecond)
		if got := get(); !slices.Equal(got, []string{"deu"}) || reads != 1 {
			t.Errorf("young %v after %d reads", got, reads)
		}
		time.Sleep(time.Nanosecond)
		if got := get(); !slices.Equal(got, []string{"deu", "eng"}) {
			t.Errorf("old %v", got)
		}
		time.Sleep(languagesAge)
		reads, fails = 0, errors.New("no database")
		get()
		fails = nil
		if got := get(); !slices.Equal(got, []string{"deu", "eng"}) {
			t.Errorf("after a failure %v", got)
		}
	})
}

// While one reads anew, which may take long, the others do not wait.
func TestNobodyWaitsForLanguages(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var l languages
		list := func(language string) func(context.Context) ([]string, error) {
			return func(context.Context) ([]string, error) { return []string{language}, nil }
		}
		if _, err := l.get(t.Context(), list("deu")); err != nil {
			t.Fatal(err)
		}
		time.Sleep(languagesAge)
		answer := make(chan struct{})
		go func() {
			_, _ = l.get(t.Context(), func(context.Context) ([]string, error) {
				<-answer
				return []string{"eng"}, nil
			})
		}()
		synctest.Wait()
		if got, err := l.get(t.Context(), list("none")); err != nil || !slices.Equal(got, []string{"deu"}) {
			t.Errorf("meanwhile %v, %v", got, err)
		}
		close(answer)
		synctest.Wait()
		if got, err := l.get(t.Context(), list("none")); err != nil || !slices.Equal(got, []string{"eng"}) {
			t.Errorf("then %v, %v", got, err)
		}
	})
}
