// Package channels is where talks are published and followed.
package channels

import (
	"context"
	"crypto/rand"
	"fmt"
	"net/http"
	"net/url"

	followingpb "techtalks.example/proto/techtalks/following/v1"
	talkspb "techtalks.example/proto/techtalks/talks/v1"
	"techtalks.example/web-tier/pages/ui"
)

// channelsPage is how many channels a page lists.
const channelsPage = 30

// List shows all channels.
func List(v *ui.Visit) error {
	var answer *talkspb.ListChannelsResponse
	if err := v.Gather(func(ctx context.Context) (err error) {
		answer, err = v.Site.Tier.Channels.ListChannels(ctx, &talkspb.ListChannelsRequest{
			PageSize: channelsPage, PageToken: v.Request.URL.Query().Get("page_token"),
		})
		return err
	}); err != nil {
		return err
	}
	return v.Render(http.StatusOK, listPage(v, answer))
}

func name(v *ui.Visit) string { return "channels/" + v.Request.PathValue("channel") }

// address is the page of the channel.
func address(v *ui.Visit) string {
	return "/channels/" + url.PathEscape(v.Request.PathValue("channel"))
}

// Show shows a channel and its talks. For who is not signed in it is one call.
func Show(v *ui.Visit) error {
	return show(v, http.StatusOK, ui.Fields{Values: map[string]string{"request_id": requestID()}})
}

func show(v *ui.Visit, status int, form ui.Fields) error {
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
	err := v.Gather(calls...)
	if err != nil && !v.SignedIn() && len(calls) > 1 {
		// The session was not valid: once more, for anybody.
		err = v.Gather(calls[0])
	}
	if err != nil {
		return err
	}
	return v.Render(status, showPage(v, answer, follows, form))
}

// Follow makes the account a follower.
func Follow(v *ui.Visit) error {
	if !v.SignedIn() {
		return v.Redirect("/sign-in?next=" + url.QueryEscape(address(v)))
	}
	if _, err := v.Site.Tier.Following.Follow(v.Context(), &followingpb.FollowRequest{Channel: name(v)}); err != nil {
		return err
	}
	return v.Redirect(address(v))
}

// Unfollow undoes Follow.
func Unfollow(v *ui.Visit) error {
	if !v.SignedIn() {
		return v.Redirect("/sign-in?next=" + url.QueryEscape(address(v)))
	}
	if _, err := v.Site.Tier.Following.Unfollow(v.Context(), &followingpb.UnfollowRequest{Channel: name(v)}); err != nil {
		return err
	}
	return v.Redirect(address(v))
}

// Publish publishes a talk on the channel.
func Publish(v *ui.Visit) error {
	if !v.SignedIn() {
		return v.Redirect("/sign-in?next=" + url.QueryEscape(address(v)))
	}
	err := v.Form()
	var answer *talkspb.CreateTalkResponse
	if err == nil {
		answer, err = v.Site.Tier.Talks.CreateTalk(v.Context(), &talkspb.CreateTalkRequest{
			Parent: name(v), Talk: ui.TypedTalk(v), RequestId: v.Request.PostFormValue("request_id"),
		})
	}
	if err != nil {
		if f, status, again := v.Typed(ui.TalkFieldNames...).Refused(err, nil); again {
			return show(v, status, f)
		}
		return err
	}
	return v.Redirect(ui.Path(answer.Talk.Name))
}

// requestID returns a UUID (RFC 9562, version 4): the same form sent twice
// publishes one talk.
func requestID() string {
	var b [16]byte
	rand.Read(b[:])
	b[6] = b[6]&0x0f | 0x40
	b[8] = b[8]&0x3f | 0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}
