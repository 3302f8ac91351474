package main

import (
	"context"
	"database/sql"
	"fmt"
	"sync/atomic"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"

	accountspb "techtalks.example/proto/techtalks/accounts/v1"
	talkspb "techtalks.example/proto/techtalks/talks/v1"
	"techtalks.example/proto/transport"
)

// publisher owns channels.
type publisher struct {
	channels talkspb.ChannelsClient
	talks    talkspb.TalksClient
	session  string
}

func newPublisher(ctx context.Context, connection *grpc.ClientConn, handle string) (*publisher, error) {
	ctx, done := context.WithTimeout(ctx, callTimeout)
	defer done()
	response, err := accountspb.NewAccountsClient(connection).SignUp(ctx, &accountspb.SignUpRequest{Handle: handle, DisplayName: "Bench", Password: "a password of the bench"})
	if err != nil {
		return nil, err
	}
	return &publisher{talkspb.NewChannelsClient(connection), talkspb.NewTalksClient(connection), response.Session.Token}, nil
}

func (p *publisher) withSession(ctx context.Context) context.Context {
	return metadata.AppendToOutgoingContext(ctx, transport.SessionKey, p.session)
}

// channel creates a channel, followed by the accounts first to last, and returns its name.
func (p *publisher) channel(ctx context.Context, db *sql.DB, slug string, first, last int) (string, error) {
	callContext, done := context.WithTimeout(p.withSession(ctx), callTimeout)
	defer done()
	response, err := p.channels.CreateChannel(callContext, &talkspb.CreateChannelRequest{ChannelId: slug, Title: "Bench " + slug})
	if err != nil {
		return "", err
	}
	_, err = db.ExecContext(ctx, `
		insert into following.follow (channel_id, account_id, channel, channel_title)
		select $1, a.id, $2, $3 from accounts.account a join generate_series($4::int, $5::int) n on a.handle = 'follower-' || n
		on conflict do nothing`, response.Channel.Id, response.Channel.Name, response.Channel.Title, first, last)
	return response.Channel.Name, err
}

func (p *publisher) publish(ctx context.Context, channel, title string) (*talkspb.Talk, error) {
	ctx, done := context.WithTimeout(p.withSession(ctx), callTimeout)
	defer done()
	response, err := p.talks.CreateTalk(ctx, &talkspb.CreateTalkRequest{Parent: channel, Talk: &talkspb.Talk{
		Title: title, Speakers: []string{"Bench"}, Language: "eng", MediaUrl: "https://www.youtube.com/watch?v=bench000000",
	}})
	return response.GetTalk(), err
}

// followers creates the accounts follower-1 to follower-n with a session each. It writes them to the
// database directly, because hashing that many passwords takes minutes.
func followers(ctx context.Context, db *sql.DB, n int) error {
	for _, statement := range []string{
		`insert into accounts.account (handle, display_name, password)
		 select 'follower-' || n, 'Follower', '' from generate_series(1, $1::int) n on conflict do nothing`,
		`insert into accounts.session (token_hash, account_id, expires_at)
		 select sha256(convert_to('session-of-' || a.handle, 'UTF8')), a.id, now() + '1 day'
		 from accounts.account a join generate_series(1, $1::int) n on a.handle = 'follower-' || n on conflict do nothing`,
	} {
		if _, err := db.ExecContext(ctx, statement, n); err != nil {
			return err
		}
	}
	if _, err := db.ExecContext(ctx, `
		insert into accounts.session (token_hash, account_id, expires_at)
		select sha256(convert_to('session-of-follower-1-device-' || n, 'UTF8')), a.id, now() + '1 day'
		from accounts.account a, generate_series(0, $1::int - 1) n where a.handle = 'follower-1' on conflict do nothing`, devices); err != nil {
		return err
	}
	_, err := db.ExecContext(ctx, `analyze accounts.account, accounts.session, following.follow`)
	return err
}

// devices is the number of additional sessions of follower-1. One session gets only a share of the
// web tier's slots.
const devices = 100

var device atomic.Int64

// deviceSession returns the next session of follower-1.
func deviceSession() string {
	return fmt.Sprint("session-of-follower-1-device-", device.Add(1)%devices)
}

func sessionOf(follower int) string { return fmt.Sprint("session-of-follower-", follower) }
