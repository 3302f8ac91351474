package talks

import (
	"context"
	"time"

	"techtalks.example/logic-tier/platform/postgres"
)

const addDraftStatement = `
insert into talks.draft as d (account_id, request_id, channel_id, talk, upload)
values ($1, $2, $3, $4, $5)
on conflict (account_id, request_id) do update set account_id = d.account_id
returning account_id, request_id, channel_id, talk, operation, upload`

func scanDraft(columns func(...any) error) (d draft, err error) {
	err = columns(&d.account, &d.requestID, &d.channelID, &d.talk, &d.operation, &d.upload)
	return d, err
}

// addDraft stores a draft, or returns the existing one of the same request.
func (s store) addDraft(ctx context.Context, d draft) (draft, error) {
	stored, _, err := postgres.One(ctx, s.db, scanDraft, addDraftStatement, d.account, d.requestID, d.channelID, d.talk, d.upload)
	return stored, err
}

const setDraftOperationStatement = `
update talks.draft
set    operation = $3
where  account_id = $1
  and  request_id = $2`

func (s store) setDraftOperation(ctx context.Context, d draft, operation string) error {
	_, err := postgres.Exec(ctx, s.db, setDraftOperationStatement, d.account, d.requestID, operation)
	return err
}

const draftStatement = `
select account_id, request_id, channel_id, talk, operation, upload
from   talks.draft
where  account_id = $1
  and  request_id = $2`

func (s store) draft(ctx context.Context, account int64, requestID string) (draft, error) {
	d, found, err := postgres.One(ctx, s.db, scanDraft, draftStatement, account, requestID)
	if err == nil && !found {
		err = errDraftNotFound
	}
	return d, err
}

const draftByOperationStatement = `
select d.account_id, d.request_id, d.channel_id, d.talk, d.operation, d.upload, c.slug
from   talks.draft d
join   talks.channel c on c.id = d.channel_id
where  d.account_id = $1
  and  d.operation = $2`

// draftByOperation returns the draft of an account that an operation publishes, and the
// slug of its channel.
func (s store) draftByOperation(ctx context.Context, account int64, operation string) (d draft, slug string, err error) {
	_, found, err := postgres.One(ctx, s.db, func(columns func(...any) error) (struct{}, error) {
		return struct{}{}, columns(&d.account, &d.requestID, &d.channelID, &d.talk, &d.operation, &d.upload, &slug)
	}, draftByOperationStatement, account, operation)
	if err == nil && !found {
		err = errDraftNotFound
	}
	return d, slug, err
}

const removeDraftsStatement = `
delete from talks.draft
where  (account_id, request_id) in (select account_id, request_id
                                    from   talks.draft
                                    where  created_at <= now() - make_interval(secs => $1)
                                    limit  $2
                                    for    update skip locked)`

// removeDrafts deletes up to limit drafts older than age and returns their number.
func (s store) removeDrafts(ctx context.Context, age time.Duration, limit int64) (int64, error) {
	return postgres.Exec(ctx, s.db, removeDraftsStatement, age.Seconds(), limit)
}

const lockChannelByIDStatement = `
select ` + channelColumns + `
from   talks.channel c
where  c.id = $1
for    no key update`

func (s store) lockChannelByID(ctx context.Context, tx *postgres.Tx, id int64) (channel, error) {
	c, found, err := postgres.One(ctx, tx, scanChannel, lockChannelByIDStatement, id)
	if err == nil && !found {
		err = errChannelNotFound
	}
	return c, err
}

const talkOfRecordingStatement = `
select ` + talkColumns + `
from   talks.talk t
join   talks.channel c on c.id = t.channel_id
where  t.recording = $1
  and  t.recording > ''`

// talkOfRecording returns the talk of a recording, even if it is withdrawn.
func (s store) talkOfRecording(ctx context.Context, tx *postgres.Tx, recording string) (talk, bool, error) {
	return postgres.One(ctx, tx, scanTalk, talkOfRecordingStatement, recording)
}
