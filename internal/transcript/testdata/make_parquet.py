import pyarrow as pa, pyarrow.parquet as pq
msg = pa.struct([("role", pa.string()), ("content", pa.string())])
rows = [
 {"conversation_id":"c-1","model":"m","messages":[{"role":"system","content":"Answer briefly."},{"role":"user","content":"What is 2+2?"},{"role":"assistant","content":"4"},{"role":"user","content":"And 3+3?"},{"role":"assistant","content":"6"}],"turn":2},
 {"conversation_id":"c-2","model":None,"messages":[{"role":"user","content":"Hello ünïcode"},{"role":"assistant","content":"Hi"},{"role":"user","content":"Bye"}],"turn":2},
 {"conversation_id":"c-3","model":"m","messages":[],"turn":0},
]
rows += [{"conversation_id":f"c-{i}","model":"m","messages":[{"role":"user","content":f"Question {i}"},{"role":"assistant","content":f"Answer {i}"}],"turn":1} for i in range(4,44)]
t = pa.Table.from_pylist(rows, schema=pa.schema([("conversation_id",pa.string()),("model",pa.string()),("messages",pa.list_(msg)),("turn",pa.int64())]))
pq.write_table(t, "messages-snappy.parquet", compression="snappy", row_group_size=20)
lt = pa.Table.from_pylist(rows, schema=pa.schema([("conversation_id",pa.large_string()),("model",pa.large_string()),("messages",pa.large_list(pa.struct([("role", pa.large_string()), ("content", pa.large_string())]))),("turn",pa.int32())]))
pq.write_table(lt, "messages-zstd-v2.parquet", compression="zstd", data_page_version="2.0", version="2.6")
# the struct of lists that older versions of the library "datasets" write
seq = [{"id":i,"conversations":{"from":["human","gpt"],"value":[f"Q{i}",f"A{i}"]}} for i in range(3)]
st = pa.Table.from_pylist(seq, schema=pa.schema([("id",pa.int64()),("conversations",pa.struct([("from",pa.list_(pa.string())),("value",pa.list_(pa.string()))]))]))
pq.write_table(st, "sequence.parquet", compression="snappy")

