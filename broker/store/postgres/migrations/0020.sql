SELECT 1; -- 0020 is another branch's
