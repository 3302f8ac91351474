// Package home is the first page.
package home

import (
	"context"
	"net/http"

	talkspb "techtalks.example/proto/techtalks/talks/v1"
	"techtalks.example/web-tier/pages/ui"
)

// latest is how many talks the first page shows.
const latest = 12

// Get shows the latest talks.
func Get(v *ui.Visit) error {
	var answer *talkspb.ListTalksResponse
	if err := v.Gather(func(ctx context.Context) (err error) {
		answer, err = v.Site.Tier.Talks.ListTalks(ctx, &talkspb.ListTalksRequest{PageSize: latest})
		return err
	}); err != nil {
		return err
	}
	return v.Render(http.StatusOK, page(v, answer.Talks))
}
