package main

import (
	"fmt"
	"slices"
	"testing"

	"techtalks.example/deployments/journey"
	"techtalks.example/deployments/local/localtest"
)

// The site publishes the demo recordings in the background after it has started. They play in
// a browser, and a second start does not publish them again.
func TestDemoRecordingsArePublishedOnceAndPlay(t *testing.T) {
	if testing.Short() {
		t.Skip("takes long; make verify runs it")
	}
	run := localtest.Folder(t)
	const channel = "/channels/adas-notebook"
	titles := func(tab *journey.Tab) []string {
		tab.Open(channel)
		return slices.Sorted(slices.Values(tab.Texts(".talks h3")))
	}
	chromium := journey.Chromium(t)
	r := localtest.Up(t, run, "DEMO_RECORDINGS=true")
	tab := journey.Browser(t, chromium, r.URL)
	var published []string
	for n := 1; n <= 7; n++ {
		r.Until(fmt.Sprintf("talk %d of 7 is published", n), func() bool {
			published = titles(tab)
			return len(published) >= n
		})
	}
	for _, talk := range []string{"short-poll-long-poll-push", "two-tones-one-curve"} {
		tab.Open(channel + "/talks/" + talk)
		if got := tab.Texts(".renditions a"); len(got) != 2 {
			t.Errorf("%s: got renditions %q, want two", talk, got)
		}
		tab.Do("const player = document.querySelector('video'); player.muted = true; void player.play()")
		r.Until(talk+" plays", func() bool {
			return tab.EvalBool("player.currentTime > 1 && player.videoWidth > 0 && player.duration > 11 && player.poster !== ''")
		})
	}
	r.Stop()
	r = localtest.Up(t, run, "DEMO_RECORDINGS=true")
	if got := titles(journey.Browser(t, chromium, r.URL)); fmt.Sprint(got) != fmt.Sprint(published) {
		t.Errorf("talks after a second start: got %q, want %q", got, published)
	}
}
