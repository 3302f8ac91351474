// Package channels serves the channel pages: listing, publishing, following and
// exporting.
package channels

import (
	"context"
	"net/http"
	"net/url"

	followingpb "techtalks.example/proto/techtalks/following/v1"
	talkspb "techtalks.example/proto/techtalks/talks/v1"
	"techtalks.example/proto/transport"
	"techtalks.example/web-tier/pages/ui"
	"techtalks.example/web-tier/platform/logicclient"
)

const channelsPerPage = 30

// List renders a page of the list of channels.
func List(v *ui.PageContext) error {
	var answer *talkspb.ListChannelsResponse
	if err := v.FetchAll(func(ctx context.Context) (err error) {
		answer, err = v.Site.Tier.Channels.ListChannels(ctx, &talkspb.ListChannelsRequest{
			PageSize: channelsPerPage, PageToken: v.Request.URL.Query().Get("page_token"),
		})
		return err
	}); err != nil {
		return err
	}
	return v.Render(http.StatusOK, listPage(v, answer))
}

// channelName returns the resource name of the channel in the request's URL.
func channelName(v *ui.PageContext) string { return "channels/" + v.Request.PathValue("channel") }

// channelPath returns the URL path of the channel in the request's URL.
func channelPath(v *ui.PageContext) string {
	return "/channels/" + url.PathEscape(v.Request.PathValue("channel"))
}

// Show renders a channel and its talks. For a signed-out visitor it makes a single
// call to the logic tier. With "draft" in the query, the publish form is prefilled
// from that failed publication.
func Show(v *ui.PageContext) error {
	form := ui.Fields{Values: map[string]string{}}
	if operation := v.Request.URL.Query().Get("draft"); operation != "" && v.SignedIn() {
		form = draft(v, "operations/"+operation)
	}
	form.Values["request_id"] = transport.NewRequestID()
	return show(v, http.StatusOK, form)
}

// draft returns the form as submitted for a publication that failed.
func draft(v *ui.PageContext, operation string) ui.Fields {
	answer, err := v.Site.Tier.Talks.GetDraft(v.Context(), &talkspb.GetDraftRequest{Operation: operation})
	if err != nil {
		return ui.Fields{Values: map[string]string{}, Problem: logicclient.Explain(err)}
	}
	form := ui.TalkFields(answer.Talk)
	form.Values["upload"] = answer.Upload
	return form
}

// show renders the channel page with the given publish form.
func show(v *ui.PageContext, status int, form ui.Fields) error {
	var answer *talkspb.ListTalksResponse
	calls := []func(context.Context) error{func(ctx context.Context) (err error) {
		answer, err = v.Site.Tier.Talks.ListTalks(ctx, &talkspb.ListTalksRequest{
			Parent: channelName(v), PageToken: v.Request.URL.Query().Get("page_token"),
		})
		return err
	}}
	following := false
	if v.SignedIn() {
		calls = append(calls, func(ctx context.Context) error {
			answer, err := v.Site.Tier.Following.GetFollow(ctx, &followingpb.GetFollowRequest{Channel: channelName(v)})
			following = answer.GetFollowing()
			return err
		})
	}
	err := v.FetchAll(calls...)
	if err != nil && !v.SignedIn() && len(calls) > 1 {
		// The session was invalid and Gather dropped it: retry without GetFollow,
		// which requires one.
		err = v.FetchAll(calls[0])
	}
	if err != nil {
		return err
	}
	if answer.Channel.GetCanPublish() {
		v.Scripts = append(v.Scripts, "upload.js")
	}
	return v.Render(status, showPage(v, answer, following, form))
}

// Follow makes the signed-in account follow the channel.
func Follow(v *ui.PageContext) error {
	if _, err := v.Site.Tier.Following.Follow(v.Context(), &followingpb.FollowRequest{Channel: channelName(v)}); err != nil {
		return err
	}
	return v.Redirect(channelPath(v))
}

// Unfollow makes the signed-in account stop following the channel.
func Unfollow(v *ui.PageContext) error {
	if _, err := v.Site.Tier.Following.Unfollow(v.Context(), &followingpb.UnfollowRequest{Channel: channelName(v)}); err != nil {
		return err
	}
	return v.Redirect(channelPath(v))
}
