// Package channels is where talks are published and followed.
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

// channelsPage is how many channels a page lists.
const channelsPage = 30

// List shows all channels.
func List(v *ui.PageContext) error {
	var answer *talkspb.ListChannelsResponse
	if err := v.FetchAll(func(ctx context.Context) (err error) {
		answer, err = v.Site.Tier.Channels.ListChannels(ctx, &talkspb.ListChannelsRequest{
			PageSize: channelsPage, PageToken: v.Request.URL.Query().Get("page_token"),
		})
		return err
	}); err != nil {
		return err
	}
	return v.Render(http.StatusOK, listPage(v, answer))
}

func name(v *ui.PageContext) string { return "channels/" + v.Request.PathValue("channel") }

// address is the page of the channel.
func address(v *ui.PageContext) string {
	return "/channels/" + url.PathEscape(v.Request.PathValue("channel"))
}

// Show shows a channel and its talks. For who is not signed in it is one call.
func Show(v *ui.PageContext) error {
	form := ui.Fields{Values: map[string]string{}}
	if operation := v.Request.URL.Query().Get("draft"); operation != "" && v.SignedIn() {
		form = draft(v, "operations/"+operation)
	}
	form.Values["request_id"] = transport.NewRequestID()
	return show(v, http.StatusOK, form)
}

// draft returns the form as it was sent for a publication that failed.
func draft(v *ui.PageContext, operation string) ui.Fields {
	sent, err := v.Site.Tier.Talks.GetDraft(v.Context(), &talkspb.GetDraftRequest{Operation: operation})
	if err != nil {
		return ui.Fields{Values: map[string]string{}, Problem: logicclient.Explain(err)}
	}
	form := ui.TalkFields(sent.Talk)
	form.Values["upload"] = sent.Upload
	return form
}

func show(v *ui.PageContext, status int, form ui.Fields) error {
	var answer *talkspb.ListTalksResponse
	calls := []func(context.Context) error{func(ctx context.Context) (err error) {
		answer, err = v.Site.Tier.Talks.ListTalks(ctx, &talkspb.ListTalksRequest{
			Parent: name(v), PageToken: v.Request.URL.Query().Get("page_token"),
		})
		return err
	}}
	follows := false
	if v.SignedIn() {
		calls = append(calls, func(ctx context.Context) error {
			answer, err := v.Site.Tier.Following.GetFollow(ctx, &followingpb.GetFollowRequest{Channel: name(v)})
			follows = answer.GetFollowing()
			return err
		})
	}
	err := v.FetchAll(calls...)
	if err != nil && !v.SignedIn() && len(calls) > 1 {
		// The session was not valid: once more, for anybody.
		err = v.FetchAll(calls[0])
	}
	if err != nil {
		return err
	}
	if answer.Channel.GetCanPublish() {
		v.Scripts = append(v.Scripts, "upload.js")
	}
	return v.Render(status, showPage(v, answer, follows, form))
}

// Follow makes the account a follower.
func Follow(v *ui.PageContext) error {
	if !v.SignedIn() {
		return v.Redirect("/sign-in?next=" + url.QueryEscape(address(v)))
	}
	if _, err := v.Site.Tier.Following.Follow(v.Context(), &followingpb.FollowRequest{Channel: name(v)}); err != nil {
		return err
	}
	return v.Redirect(address(v))
}

// Unfollow undoes Follow.
func Unfollow(v *ui.PageContext) error {
	if !v.SignedIn() {
		return v.Redirect("/sign-in?next=" + url.QueryEscape(address(v)))
	}
	if _, err := v.Site.Tier.Following.Unfollow(v.Context(), &followingpb.UnfollowRequest{Channel: name(v)}); err != nil {
		return err
	}
	return v.Redirect(address(v))
}
