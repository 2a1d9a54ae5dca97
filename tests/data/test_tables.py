"""The reader of tables: every format plain and packed gives the same rows, and bad input ends in one line that says
where"""

import gzip
import io
import json
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from data.common import put, refusal

from autogets.core import text_id
from autogets.data.tables import csv_rows, json_lines, read_bytes, read_frame, read_table, read_text


def zipped(files):
    "The bytes of a zip file with `files`, name to bytes"
    b = io.BytesIO()
    with zipfile.ZipFile(b, 'w', zipfile.ZIP_DEFLATED) as z:
        for name, data in files.items():
            z.writestr(name, data)
    return b.getvalue()


KINDS = ['csv', 'tsv', 'jsonl', 'parquet']


@pytest.mark.parametrize('name', [f't.{kind}{packed}' for kind in KINDS for packed in ('', '.gz', '.zip')])
def test_formats_agree(tmp_path, name):
    frame = pd.DataFrame(
        {'q': ['Où est "le, chat" ?', 'two\nlines', 'null'], 'y': [1, 2, 1], 'site': ['Vigo', None, 'NA']}
    )
    b = io.BytesIO()
    if 'parquet' in name:
        frame.to_parquet(b)
    elif 'jsonl' in name:
        b.write(
            '\n'.join(
                json.dumps(r, ensure_ascii=False)
                for r in frame.astype(object).where(frame.notna(), None).to_dict('records')
            ).encode()
        )
    else:
        b.write(frame.to_csv(index=False, sep='\t' if 'tsv' in name else ',').encode())
    pack = {'.gz': gzip.compress, '.zip': lambda data: zipped({name[:-4]: data})}.get(Path(name).suffix, bytes)
    p = put(tmp_path, name, pack(b.getvalue()))
    got = read_table(p, text='q', label='y', features=('site',))
    assert got.columns.tolist() == ['id', 'text', 'label', 'site']
    assert got.text.tolist() == frame.q.tolist()
    assert got.label.tolist() == ['1', '2', '1']
    assert got.site.tolist() == ['Vigo', '', 'NA']
    assert got.id.tolist() == [text_id(t) for t in frame.q]


def test_byte_order_mark_and_outer_spaces_of_labels(tmp_path):
    got = read_table(put(tmp_path, 'a.csv', b'\xef\xbb\xbftext,label\n a ,x \nb,NA\n'))
    assert got.text.tolist() == [' a ', 'b'] and got.label.tolist() == ['x', 'NA']


@pytest.mark.parametrize(
    'name,content,says',
    [
        ('a.csv', '', 'a.csv is empty'),
        ('a.jsonl', '\n', 'a.jsonl is empty'),
        ('a.parquet', b'', 'a.parquet is empty'),
        ('a.csv', 'text,label\n', 'a header but no rows'),
        ('a.csv', 'subject,queue\na,x\n', "no column 'text': its columns are subject, queue"),
        ('a.csv', 'text;label\na;x\n', 'save it with commas'),
        ('a.csv', 'text,label,text\na,x,b\n', "2 columns named 'text'"),
        ('a.csv', 'text,label\na,x\n\n"  ",y\nNaN,x\n,y\n', "rows without a text (column 'text'): 3, at row 4, 5, 6;"),
        ('a.csv', 'text,label\n' + 'a,x\n' * 3 + ',x\n' * 9, '9, first at row 5, 6, 7, 8, 9;'),
        ('a.csv', 'text,label\na,x\nb,\n', "rows without a label (column 'label'): 1, at row 3;"),
        ('a.csv', 'text,label\na,x\nb,x\n', "single class, 'x'"),
        ('a.csv', 'text,label\na,x\nb, c,y\nd,e,f,g\n', 'row 3 has 3 fields, the header 2 (rows like this: 2)'),
        ('a.csv', 'text,label\na,x\n"b,y\nc,z\n', 'not a CSV table: unexpected end of data'),
        ('a.csv', b'\x89PNG\r\n\x1a\n\0\0\0\rIHDR', 'not a text table'),
        ('a.csv', 'text,label\na,x\n'.encode('utf-16'), 'not a text table'),
        ('a.csv', 'text,label\na,x\ncafé,y\n'.encode('latin-1'), 'not UTF-8: byte 0xe9 at offset 18, line 3'),
        ('a.jsonl', '{"text": "a", "label": "x"}\n{"text": "b"\n', 'line 2 is not one JSON object'),
        ('a.jsonl', '{"text": "a", "label": "x"}\n{"text": null, "label": "y"}\n', 'at row 2'),
        ('a.parquet', b'PAR1 broken PAR1', 'not a Parquet table'),
        ('a.csv.gz', gzip.compress(b'text,label\na,x\nb,y\n' * 50, mtime=0)[:-12], 'damaged gzip'),
        ('a.xlsx', b'PK', 'use .csv, .tsv, .jsonl, .parquet'),
    ],
)
def test_bad_tables(tmp_path, name, content, says):
    message = refusal(read_table, put(tmp_path, name, content))
    assert says in message and name in message


def test_gzip_is_known_by_its_content(tmp_path):
    assert len(read_table(put(tmp_path, 'a.csv', gzip.compress(b'text,label\na,x\nb,y\n')))) == 2


def test_file_missing_or_a_folder(tmp_path):
    assert 'does not exist' in refusal(read_table, tmp_path / 'no.csv')
    (tmp_path / 'dir.csv').mkdir()
    assert 'cannot read' in refusal(read_table, tmp_path / 'dir.csv')


def test_nan_text_in_parquet(tmp_path):
    pd.DataFrame({'text': ['a', None, 'c'], 'label': [1.0, 2.0, np.nan]}).to_parquet(tmp_path / 'a.parquet')
    assert 'at row 2;' in refusal(read_table, tmp_path / 'a.parquet')


def test_columns_that_cannot_be(tmp_path):
    p = put(tmp_path, 'a.csv', 'text,label,id\na,x,1\nb,y,2\n')
    assert 'both' in refusal(read_table, p, label='text')
    assert 'feature' in refusal(read_table, p, features=('id',))
    assert "no column 'area'" in refusal(read_table, p, features=('area',))


def test_a_file_of_test_rows_may_have_one_class(tmp_path):
    assert len(read_table(put(tmp_path, 'a.csv', 'text,label\na,x\nb,x\n'), min_classes=1)) == 2


# --- packed files and encodings


def test_a_zip_file_may_hold_its_table_under_any_name(tmp_path):
    p = put(tmp_path, 'download.zip', zipped({'__MACOSX/._t.tsv': b'x', 'inner/t.tsv': b'text\tlabel\na\tx\nb\ty\n'}))
    assert read_table(p).text.tolist() == ['a', 'b']


@pytest.mark.parametrize(
    'content,says',
    [
        (zipped({'a.csv': b'', 'b.csv': b''}), 'holds 2 files'),
        (zipped({}), 'holds 0 files'),
        (b'<html>', 'not a zip file that can be read (BadZipFile)'),
        (zipped({'a.csv': b'text,label\na,x\nb,y\n' * 99})[:-9], 'not a zip file that can be read (BadZipFile)'),
        (zipped({'a.doc': b'text'}), 'use .csv, .tsv, .jsonl, .parquet'),
        (zipped({'a.csv': b'text,label\na,x\n'}), 'single class'),
    ],
)
def test_bad_zip_files(tmp_path, content, says):
    message = refusal(read_table, put(tmp_path, 'a.csv.zip', content))
    assert says in message and 'a.csv.zip' in message


@pytest.mark.parametrize('encoding', ['latin-1', 'cp1252', 'utf-16'])
def test_an_encoding_is_used_when_it_is_named(tmp_path, encoding):
    p = put(tmp_path, 'a.csv', 'text,label\ncafé,x\nthé,y\n'.encode(encoding))
    assert read_table(p, encoding=encoding).text.tolist() == ['café', 'thé']
    assert 'a.csv is not' in refusal(read_table, p)


def test_a_wrong_encoding_is_named(tmp_path):
    p = put(tmp_path, 'a.csv', 'text,label\ncafé,x\nthé,y\n')
    assert "unknown encoding 'klingon'" in refusal(read_table, p, encoding='klingon')
    assert 'is not ascii: byte 0xc3 at offset 14, line 2' in refusal(read_table, p, encoding='ascii')


# --- the parts that other readers use


def test_rows_come_with_the_number_that_a_person_sees():
    header, rows = csv_rows(b'text,label\n"two\nlines",x\n\nlast,y\n', 'a.csv')
    assert header == ['text', 'label'] and rows == [(2, ['two\nlines', 'x']), (4, ['last', 'y'])]
    assert json_lines(b'\n{"a": 1}\n\n{"a": 2}', 'a.jsonl') == {2: {'a': 1}, 4: {'a': 2}}


def test_a_frame_keeps_all_columns_as_they_are(tmp_path):
    frame = read_frame(put(tmp_path, 'a.tsv', 'n\tNA\n007\t \n'))
    assert frame.to_dict('index') == {2: {'n': '007', 'NA': ' '}}


def test_packed_text_and_bytes(tmp_path):
    p = put(tmp_path, 'a.txt.gz', gzip.compress('\ufeffgrün'.encode()))
    assert read_text(p) == 'grün' and read_bytes(p) == '\ufeffgrün'.encode()
