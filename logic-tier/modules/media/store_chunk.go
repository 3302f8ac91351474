package media

import (
	"context"
	"fmt"

	"techtalks.example/logic-tier/platform/postgres"
)

// postgresChunks stores chunks in the database, so that one backup covers everything.
type postgresChunks struct{ db *postgres.DB }

const insertChunkStatement = `
insert into media.chunk (file_id, number, bytes)
values ($1, $2, $3)`

// The length check rejects an append at the wrong offset.
const extendChunkStatement = `
update media.chunk
set    bytes = bytes || $3
where  file_id = $1
  and  number = $2
  and  octet_length(bytes) = $4`

func (c postgresChunks) write(ctx context.Context, tx *postgres.Tx, file, offset int64, data []byte) error {
	number, length := offset/chunkSize, offset%chunkSize
	if length == 0 {
		_, err := postgres.Exec(ctx, tx, insertChunkStatement, file, number, data)
		return err
	}
	changed, err := postgres.Exec(ctx, tx, extendChunkStatement, file, number, data, length)
	if err == nil && changed == 0 {
		return fmt.Errorf("file %d: append to chunk %d: its length is not %d", file, number, length)
	}
	return err
}

const readChunkStatement = `
select substr(bytes, $3, $4)
from   media.chunk
where  file_id = $1
  and  number = $2`

func (c postgresChunks) read(ctx context.Context, file, offset int64, limit int) ([]byte, error) {
	data, _, err := postgres.One(ctx, c.db, postgres.Value[[]byte], readChunkStatement,
		file, offset/chunkSize, offset%chunkSize+1, min(limit, chunkRemainder(offset)))
	return data, err
}

// deleteBatch is the number of chunks deleted per statement: 16 MiB, which bounds the locks
// and the write-ahead log of one transaction.
const deleteBatch = 64

const deleteChunksStatement = `
delete from media.chunk
where  file_id = $1
  and  number in (select number
                  from   media.chunk
                  where  file_id = $1
                  order by number
                  limit  $2)`

func (c postgresChunks) delete(ctx context.Context, tx *postgres.Tx, file int64) (bool, error) {
	deleted, err := postgres.Exec(ctx, tx, deleteChunksStatement, file, deleteBatch)
	return deleted < deleteBatch, err
}
