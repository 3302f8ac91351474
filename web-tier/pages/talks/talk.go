package talks

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"path"
	"slices"
	"strings"

	"google.golang.org/protobuf/types/known/fieldmaskpb"

	mediapb "techtalks.example/proto/techtalks/media/v1"
	talkspb "techtalks.example/proto/techtalks/talks/v1"
	"techtalks.example/web-tier/pages/ui"
	"techtalks.example/web-tier/platform/logicclient"
	"techtalks.example/web-tier/platform/server"
)

// name returns the resource name that a page's address is about.
func name(v *ui.PageContext) string {
	return "channels/" + v.Request.PathValue("channel") + "/talks/" + v.Request.PathValue("talk")
}

// Show shows a talk.
func Show(v *ui.PageContext) error {
	t, err := get(v)
	if err != nil {
		if p := logicclient.Explain(err); p.Reason == "TALK_WITHDRAWN" {
			p.Status, p.Title = http.StatusGone, "Withdrawn"
			return p
		}
		return err
	}
	kept, err := recording(v, t)
	if err != nil {
		return err
	}
	if kept != nil || mediaOf(t).kind != "" {
		v.Scripts = append(v.Scripts, "player.js")
	}
	switch {
	case kept != nil:
		v.Writer.Header().Set("Content-Security-Policy", server.Policy("'self'"))
	case mediaOf(t).kind != "":
		v.Writer.Header().Set("Content-Security-Policy", server.Policy("https: http:"))
	}
	return v.Render(http.StatusOK, talkPage(v, t, kept))
}

// recording returns the recording that is kept here; nil when there is none, or
// none any more.
func recording(v *ui.PageContext, t *talkspb.Talk) (*mediapb.Recording, error) {
	if t.Recording == "" {
		return nil, nil
	}
	answer, err := v.Site.Tier.Media.GetRecording(v.Context(), &mediapb.GetRecordingRequest{Name: t.Recording})
	if err != nil && logicclient.Explain(err).Reason == "RECORDING_NOT_FOUND" {
		return nil, nil
	}
	return answer.GetRecording(), err
}

func get(v *ui.PageContext) (t *talkspb.Talk, err error) {
	err = v.FetchAll(func(ctx context.Context) error {
		answer, err := v.Site.Tier.Talks.GetTalk(ctx, &talkspb.GetTalkRequest{Name: name(v)})
		t = answer.GetTalk()
		return err
	})
	return t, err
}

// media is how a recording is shown.
type media struct {
	url   string
	kind  string // of a file that the browser plays; empty for a page
	where string // the host of a page
}

func mediaOf(t *talkspb.Talk) media {
	u, err := url.Parse(t.MediaUrl)
	if err != nil || t.MediaUrl == "" || u.Scheme != "https" && u.Scheme != "http" {
		return media{}
	}
	m := media{url: t.MediaUrl, where: strings.TrimPrefix(u.Hostname(), "www.")}
	switch strings.ToLower(path.Ext(u.Path)) {
	case ".mp4":
		m.kind = "video/mp4"
	case ".webm":
		m.kind = "video/webm"
	}
	return m
}

// streamed orders a recording's files for a player, which takes the first that it
// can play: the original, of any size, comes last.
func streamed(files []*mediapb.Recording_Rendition) []*mediapb.Recording_Rendition {
	last := slices.DeleteFunc(slices.Clone(files), func(f *mediapb.Recording_Rendition) bool { return !isOriginal(f) })
	return append(slices.DeleteFunc(slices.Clone(files), isOriginal), last...)
}

func isOriginal(file *mediapb.Recording_Rendition) bool { return path.Base(file.File) == "original" }

// quality names a file of a recording: "480p", "Original".
func quality(file *mediapb.Recording_Rendition) string {
	if isOriginal(file) {
		return "Original"
	}
	return path.Base(file.File)
}

// rendition describes a file of a recording: "854 × 480, mp4, 12 MB".
func rendition(file *mediapb.Recording_Rendition) string {
	_, kind, _ := strings.Cut(file.ContentType, "/")
	parts := []string{kind, ui.Bytes(file.Size)}
	if file.Width > 0 && file.Height > 0 {
		parts = append([]string{fmt.Sprintf("%d × %d", file.Width, file.Height)}, parts...)
	}
	return strings.Join(parts, ", ")
}

// Edit shows the form to edit a talk.
func Edit(v *ui.PageContext) error {
	if !v.SignedIn() {
		return v.AskToSignIn()
	}
	t, err := get(v)
	if err != nil {
		return err
	}
	if !t.CanEdit {
		return &logicclient.Problem{Status: http.StatusForbidden, Title: "You may not do that", Message: "Only who published a talk may edit it."}
	}
	return v.Render(http.StatusOK, editPage(v, t, ui.TalkFields(t)))
}

// Save changes a talk.
func Save(v *ui.PageContext) error {
	if !v.SignedIn() {
		return v.AskToSignIn()
	}
	err := v.ParseForm()
	var answer *talkspb.UpdateTalkResponse
	if err == nil {
		err = ui.CheckDescription(ui.SubmittedTalk(v).Description)
	}
	if err == nil {
		t := ui.SubmittedTalk(v)
		t.Name = name(v)
		answer, err = v.Site.Tier.Talks.UpdateTalk(v.Context(), &talkspb.UpdateTalkRequest{
			Talk: t, UpdateMask: &fieldmaskpb.FieldMask{Paths: []string{"title", "speakers", "language", "tags", "description", "media_url"}},
		})
	}
	if err != nil {
		if f, status, again := v.WithErrors(v.Submitted(ui.TalkFieldNames...), err, nil); again {
			is, err := get(v)
			if err != nil {
				return err
			}
			return v.Render(status, editPage(v, is, f))
		}
		return err
	}
	return v.Redirect(ui.Path(answer.Talk.Name))
}

// Withdraw takes a talk back.
func Withdraw(v *ui.PageContext) error {
	if !v.SignedIn() {
		return v.AskToSignIn()
	}
	if _, err := v.Site.Tier.Talks.WithdrawTalk(v.Context(), &talkspb.WithdrawTalkRequest{Name: name(v)}); err != nil {
		return err
	}
	return v.Redirect("/channels/" + url.PathEscape(v.Request.PathValue("channel")))
}
