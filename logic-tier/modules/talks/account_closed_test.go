package talks_test

import (
	"fmt"
	"slices"
	"testing"

	"google.golang.org/protobuf/proto"

	"techtalks.example/logic-tier/platform/queue"
	accountspb "techtalks.example/proto/techtalks/accounts/v1"
	talkspb "techtalks.example/proto/techtalks/talks/v1"
)

func TestAccountClosedDeletesChannelsAndRetiresAddresses(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	for _, slug := range []string{"looms", "engines"} {
		s.publish(t, ada, s.createChannel(t, ada, slug), &talkspb.Talk{Title: "Of ada's"})
	}
	s.publish(t, grace, s.createChannel(t, grace, "gears"), &talkspb.Talk{Title: "Of grace's"})
	// More than one batch, half of it withdrawn.
	if _, err := s.admin.Exec(`
		insert into talks.talk (channel_id, slug, title, speakers, language, tags, media_url, published_at, withdrawn_at, description)
		select c.id, 'bulk-' || i, 'Bulk', '{}', '', '{}', '', now(), case when i % 2 = 0 then now() end, ''
		from   talks.channel c, generate_series(1, 1200) i
		where  c.slug = 'looms'`); err != nil {
		t.Fatal(err)
	}
	consumers := s.module.Consumers()
	closing := consumers[slices.IndexFunc(consumers, func(c queue.Consumer) bool { return c.Queue == "talks.account-closed" })]
	body, err := proto.Marshal(&accountspb.AccountClosed{AccountId: ada.ID})
	if err != nil {
		t.Fatal(err)
	}
	for range 2 { // the second delivery changes nothing
		if err := closing.Handle(t.Context(), queue.Delivery{Queue: closing.Queue, ContentType: queue.ContentType, Body: body}); err != nil {
			t.Fatal(err)
		}
		var left, removed int
		if err := s.admin.QueryRow(`
			select (select count(*) from talks.talk) + (select count(*) from talks.channel) + (select count(*) from talks.request where account_id = 1),
			       (select count(distinct id) from queue.dead_letter where type = 'channel.removed')`).Scan(&left, &removed); err != nil {
			t.Fatal(err)
		}
		if left != 2 || removed != 2 {
			t.Fatalf("got %d rows left, want 2, grace's channel and talk; got %d channel.removed messages, want 2", left, removed)
		}
	}
	_, err = s.channels.CreateChannel(asPerson(t, grace), &talkspb.CreateChannelRequest{ChannelId: "looms", Title: "Looms"})
	wantFailure(t, err, "CHANNEL_EXISTS")
	for owner, reason := range map[int64]string{grace.ID: "TOO_MANY_CHANNELS", 0: ""} {
		_, err := s.talks.BatchImportTalks(t.Context(), &talkspb.BatchImportTalksRequest{
			OwnerId: owner, OwnerHandle: "grace", Channels: []*talkspb.Channel{{Name: "channels/looms", Title: "Looms"}},
			Talks: []*talkspb.Talk{{Name: "channels/looms/talks/mine", Title: fmt.Sprint("Mine ", owner)}},
		})
		if reason == "" && err != nil {
			t.Errorf("operator's import: %v", err)
		} else if reason != "" {
			wantFailure(t, err, reason)
		}
	}
	if n := len(s.list(t, &talkspb.ListTalksRequest{}).Talks); n != 1 {
		t.Errorf("got %d talks, want 1, grace's", n)
	}
}
