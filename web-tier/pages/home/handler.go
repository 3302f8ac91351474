// Package home serves the front page.
package home

import (
	"context"
	"net/http"

	talkspb "techtalks.example/proto/techtalks/talks/v1"
	"techtalks.example/web-tier/pages/ui"
)

// latestCount is the number of talks on the front page.
const latestCount = 12

// Get shows the latest talks.
func Get(v *ui.PageContext) error {
	var response *talkspb.ListTalksResponse
	if err := v.FetchAll(func(ctx context.Context) (err error) {
		response, err = v.Site.Tier.Talks.ListTalks(ctx, &talkspb.ListTalksRequest{PageSize: latestCount})
		return err
	}); err != nil {
		return err
	}
	return v.Render(http.StatusOK, page(v, response.Talks))
}
