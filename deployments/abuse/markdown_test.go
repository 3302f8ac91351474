package abuse

import (
	"context"
	"fmt"
	"net/url"
	"strings"
	"sync"
	"testing"

	"techtalks.example/deployments/local/localtest"
)

// descriptions are texts whose HTML would be hundreds of times as long, or take seconds to
// render: a table that pads its rows, a long link reference that is used often, nested lists.
var descriptions = []string{
	strings.Repeat("|a", 300) + "\n" + strings.Repeat("|-", 300) + "\n" + strings.Repeat("x\n", 9_300),
	"[a]: <https://example.org/" + strings.Repeat("u", 9_000) + ">\n\n" + strings.Repeat("[a] ", 2_700),
	strings.Repeat("- ", 1_000) + "a\n" + strings.Repeat("\n", 9_000) + "a",
}

// maxForms is the number of forms that the attacker sends with each description.
const maxForms = 200

// maxWebTierMemory is far above the memory of a web tier that renders ordinary pages, and below
// that of one rendering any of the descriptions without limits.
const maxWebTierMemory = 512 << 20

func TestAmplifyingDescriptionsLeaveOthersServed(t *testing.T) {
	t.Parallel()
	site := localtest.Up(t, localtest.Folder(t))
	others := newBystander(t, site)
	publisher := newClient(t, site.URL, attacker)
	channel := publisher.signUp("amplifier")
	ctx := t.Context()
	if got := publisher.do(ctx, "/channels", url.Values{"slug": {channel}, "title": {"Tables"}}); got != "303" {
		t.Fatalf("create a channel: %s", got)
	}
	others.duringAttack("descriptions that amplify", func(ctx context.Context) {
		var workers sync.WaitGroup
		for i, description := range descriptions {
			workers.Go(func() {
				for n := 0; n < maxForms && ctx.Err() == nil; n++ {
					// Each text is unique, so that none is cached.
					talk := url.Values{"title": {"Talk"}, "description": {fmt.Sprintf("%d\n\n%s", n, description)}}
					if got := publisher.do(ctx, "/channels/"+channel+"/talks", talk); got == "303" {
						t.Errorf("description %d: the talk was published", i)
					}
				}
			})
		}
		workers.Wait()
	})
	if peak := site.PeakMemory("web-tier"); peak > maxWebTierMemory {
		t.Errorf("peak memory of the web tier: got %d MB, want at most %d MB", peak>>20, maxWebTierMemory>>20)
	}
}
