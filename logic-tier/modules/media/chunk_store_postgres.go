package media

import (
	"context"
	"fmt"

	"techtalks.example/logic-tier/platform/postgres"
)

// chunks keeps bytes in the database, with everything else: one backup has all.
type chunks struct{ db *postgres.DB }

const addChunkStatement = `
insert into media.chunk (file_id, number, bytes)
values ($1, $2, $3)`

// The length is compared so that bytes never stand where others should.
const extendChunkStatement = `
update media.chunk
set    bytes = bytes || $3
where  file_id = $1
  and  number = $2
  and  octet_length(bytes) = $4`

func (c chunks) write(ctx context.Context, tx *postgres.Tx, file, offset int64, bytes []byte) error {
	number, within := offset/chunkSize, offset%chunkSize
	if within == 0 {
		_, err := postgres.Exec(ctx, tx, addChunkStatement, file, number, bytes)
		return err
	}
	changed, err := postgres.Exec(ctx, tx, extendChunkStatement, file, number, bytes, within)
	if err == nil && changed == 0 {
		return fmt.Errorf("file %d: chunk %d does not end at %d", file, number, within)
	}
	return err
}

const readChunkStatement = `
select substr(bytes, $3, $4)
from   media.chunk
where  file_id = $1
  and  number = $2`

func (c chunks) read(ctx context.Context, file, offset int64, most int) ([]byte, error) {
	bytes, _, err := postgres.One(ctx, c.db, postgres.Value[[]byte], readChunkStatement,
		file, offset/chunkSize, offset%chunkSize+1, min(most, inChunk(offset)))
	return bytes, err
}

// removeAtOnce is how many chunks go in one statement, 16 MiB: bounded, so that
// none locks or writes much.
const removeAtOnce = 64

const removeChunksStatement = `
delete from media.chunk
where  file_id = $1
  and  number in (select number
                  from   media.chunk
                  where  file_id = $1
                  order by number
                  limit  $2)`

func (c chunks) remove(ctx context.Context, tx *postgres.Tx, file int64) (bool, error) {
	removed, err := postgres.Exec(ctx, tx, removeChunksStatement, file, removeAtOnce)
	return removed < removeAtOnce, err
}
